//! Three nodes of one cluster in 64 KB of memory, on a Cortex-M3 without an operating system. The links between them are simulated and lose datagrams; time is simulated,
//! too. `./check` builds it, runs it in qemu and prints its sizes.
#![no_std]
#![no_main]

extern crate alloc;

mod console;
mod links;
mod vectors;

use alloc::boxed::Box;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use console::Part::Text;
use console::{number, say};
use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use embedded_alloc::LlffHeap as Heap;
use gossip_core::{Command, Config, Identity, Instant, Key, Node, UnixTime, Value};
use links::Links;

#[global_allocator]
static HEAP: Heap = Heap::empty();

/// Bytes for all that is allocated. More than that is a panic, and exit code 1.
const HEAP_SIZE: usize = 36 * 1024;
/// The largest datagram, in bytes: the least that the core works with.
const MAX_DATAGRAM: usize = 512;
/// 2026-01-01: a board without a clock of its own would ask its neighbour.
const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);

#[entry]
fn main() -> ! {
    #[expect(unsafe_code, reason = "called once, before anything is allocated")]
    unsafe {
        embedded_alloc::init!(HEAP, HEAP_SIZE);
    }
    let mut nodes: [Box<Node>; 3] = [1, 2, 3].map(|number| Box::new(node(number)));
    say(&[
        Text("heap: "),
        number(HEAP.used()),
        Text(" bytes for three new nodes"),
    ]);

    let key = legal(Key::new("role"));
    let value = legal(Value::new("sensor"));
    let set = Command::Set {
        key: key.clone(),
        value,
    };
    legal(nodes[0].handle_command(Instant::ORIGIN, set));

    let mut links = Links::losing_one_in(5);
    let mut most = 0;
    let mut met = None;
    let end = Instant::from_origin(Duration::from_secs(600));
    while links.step(&mut nodes) < end {
        most = HEAP.used().max(most);
        if met.is_none() && have_converged(&nodes, &key) {
            met = Some(links.now());
        }
    }
    say(&[
        Text("heap: "),
        number(most),
        Text(" bytes of "),
        number(HEAP_SIZE),
        Text(" at most in ten minutes"),
    ]);
    say(&[
        number(links.sent),
        Text(" datagrams, "),
        number(links.lost),
        Text(" of them lost"),
    ]);
    if let Some(met) = met.filter(|_| have_converged(&nodes, &key)) {
        let millis = number(met.as_nanos() / 1_000_000);
        say(&[Text("converged after "), millis, Text(" ms")]);
        debug::exit(debug::EXIT_SUCCESS);
    } else {
        say(&[Text("not converged")]);
        debug::exit(debug::EXIT_FAILURE);
    }
    loop {
        cortex_m::asm::wfi();
    }
}

/// Says so, and ends with exit code 1. A debugger tells where: to have the image tell it would take
/// 5 KB of flash for the text, and 3 KB for the places.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    say(&[Text("panicked")]);
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}

/// Whether every node holds every other one up, and what the first of them said.
fn have_converged(nodes: &[Box<Node>], key: &Key) -> bool {
    nodes.iter().all(|node| {
        let told = |member: &gossip_core::Member<'_>| member.attribute(key) == Some(b"sensor");
        node.metrics().live == 3 && node.member(nodes[0].id()).is_some_and(|first| told(&first))
    })
}

/// A node with the smallest tables that make sense.
fn node(number: u8) -> Node {
    let mut config = Config::lan();
    config.seeds.push(address(1));
    config.max_datagram = legal(MAX_DATAGRAM.try_into());
    config.max_members = 8;
    config.max_state = 512;
    config.neighbours = 2;
    config.window = 16;
    config.event_queue = 16;
    config.outbox = 64;
    let names = ["", "one", "two", "three"];
    let identity = legal(Identity::new(names[usize::from(number)], address(number)));
    // A real board has a source of randomness, or a number of its own and a counter of starts.
    legal(Node::new(
        config,
        identity,
        [number; 32],
        Instant::ORIGIN,
        WALL,
    ))
}

/// What a constant leads to is legal. `expect` would print the error, and printing takes flash.
fn legal<T, E>(result: Result<T, E>) -> T {
    let Ok(legal) = result else {
        panic!("a constant of this program is not legal")
    };
    legal
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, u16::from(number)))
}
