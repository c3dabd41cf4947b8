//! How often a wrong clock is reported: once in a while for a member, not for every datagram.

use core::time::Duration;

use crate::identity::NodeId;
use crate::time::Instant;

/// The member whose clock was reported last, and when.
#[derive(Debug, Default)]
pub(super) struct SkewReports(Option<(NodeId, Instant)>);

impl SkewReports {
    /// Whether the clock of a member is to be reported now. If it is, the report counts as made.
    ///
    /// The same member is not reported twice within `quiet`.
    pub(super) fn take_due(&mut self, now: Instant, id: NodeId, quiet: Duration) -> bool {
        let told = self
            .0
            .is_some_and(|(of, at)| of == id && now.saturating_since(at) < quiet);
        if !told {
            self.0 = Some((id, now));
        }
        !told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_reported_again_after_a_quiet_time() {
        let mut reports = SkewReports::default();
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let quiet = Duration::from_secs(60);
        let id = NodeId::from_u64(1);
        assert!(reports.take_due(at(0), id, quiet));
        assert!(!reports.take_due(at(59), id, quiet));
        assert!(reports.take_due(at(60), id, quiet));
        assert!(reports.take_due(at(61), NodeId::from_u64(2), quiet));
    }
}
