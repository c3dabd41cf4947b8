//! When a clock that is wrong is reported: once in a while for a member, not for every datagram.

use core::time::Duration;

use crate::identity::NodeId;
use crate::time::Instant;

/// Whose clock was reported last, and when.
#[derive(Debug, Default)]
pub(super) struct SkewReports(Option<(NodeId, Instant)>);

impl SkewReports {
    /// Whether the clock of a member is to be reported now. If so, that is noted.
    pub(super) fn is_due(&mut self, now: Instant, id: NodeId, quiet: Duration) -> bool {
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
        assert!(reports.is_due(at(0), id, quiet));
        assert!(!reports.is_due(at(59), id, quiet));
        assert!(reports.is_due(at(60), id, quiet));
    }
}
