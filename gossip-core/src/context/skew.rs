//! How often a wrong clock is reported: once in a while for each member, not for every datagram.

use core::time::Duration;

use crate::identity::NodeId;
use crate::time::Instant;

/// The most members whose clocks are reported within the quiet time. Whoever forges ids could otherwise fill the
/// application's queue.
const REPORTED: usize = 32;

/// The members whose clocks were reported lately, and when.
///
/// Invariant: each stands in the list once.
#[derive(Debug, Default)]
pub(super) struct SkewReports(heapless::Vec<(NodeId, Instant), REPORTED>);

impl SkewReports {
    /// Whether the clock of a member is to be reported now. If it is, the report counts as made.
    ///
    /// The same member is not reported twice within `quiet`, and no more than [`REPORTED`] members are.
    pub(super) fn take_due(&mut self, now: Instant, id: NodeId, quiet: Duration) -> bool {
        self.0.retain(|(_, at)| now.saturating_since(*at) < quiet);
        if self.0.iter().any(|(of, _)| *of == id) {
            return false;
        }
        self.0.push((id, now)).is_ok()
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
        let [id, other] = [1, 2].map(NodeId::from_u64);
        assert!(reports.take_due(at(0), id, quiet));
        assert!(reports.take_due(at(1), other, quiet));
        assert!(
            !reports.take_due(at(59), id, quiet),
            "the other one does not count"
        );
        assert!(reports.take_due(at(60), id, quiet));
        assert!(!reports.take_due(at(60), other, quiet));
    }

    #[test]
    fn a_flood_of_wrong_clocks_is_reported_in_part() {
        let mut reports = SkewReports::default();
        let quiet = Duration::from_secs(60);
        let told = (0..1000)
            .filter(|n| reports.take_due(Instant::ORIGIN, NodeId::from_u64(*n), quiet))
            .count();
        assert_eq!(told, REPORTED);
    }
}
