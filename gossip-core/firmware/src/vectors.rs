//! The interrupts of an LM3S6965, none of which this program serves. Where a device names none,
//! `cortex-m-rt` sets 240 vectors aside.
#![expect(
    unsafe_code,
    reason = "the linker finds it by its name and its section"
)]

unsafe extern "C" {
    fn DefaultHandler_();
}

#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); 44] = [DefaultHandler_; 44];
