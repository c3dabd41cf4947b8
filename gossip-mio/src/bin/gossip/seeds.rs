//! Why no seed answers, as far as this node can know.

use std::net::SocketAddr;

use gossip_mio::gossip_core::{Metrics, Node};

/// A seed that does not answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Silent {
    pub(crate) seed: SocketAddr,
    /// Why it cannot answer.
    pub(crate) reason: Option<&'static str>,
}

/// The seeds of a node that nobody has answered. The node receives at `local`.
pub(crate) fn silent(node: &Node, local: SocketAddr) -> Vec<Silent> {
    let own = node.member(node.id()).map(|own| own.address());
    let seeds = node.seeds().iter().copied();
    let silent = seeds.map(|seed| {
        let is_own = seed == local || Some(seed) == own;
        Silent {
            seed,
            reason: reason(seed, local, is_own),
        }
    });
    silent.collect()
}

fn reason(seed: SocketAddr, local: SocketAddr, is_own: bool) -> Option<&'static str> {
    if is_own {
        Some("this is the node itself")
    } else if seed.is_ipv6() && local.is_ipv4() {
        Some("the node is bound to an IPv4 address, and this is an IPv6 address")
    } else if seed.is_ipv4() && local.is_ipv6() && !local.ip().is_unspecified() {
        Some("the node is bound to an IPv6 address, and this is an IPv4 address")
    } else {
        None
    }
}

/// What the datagrams say that this node has refused, if there were any: perhaps they are the seeds'.
pub(crate) fn refused(metrics: &Metrics) -> Option<&'static str> {
    let dropped = &metrics.dropped;
    if dropped.cluster > 0 {
        Some("datagrams of another cluster arrive: compare --cluster")
    } else if dropped.key > 0 {
        Some("datagrams arrive that no key of this node opens: compare the key files")
    } else if dropped.plaintext > 0 {
        Some("datagrams arrive that are not encrypted, and this node requires encryption")
    } else if dropped.version > 0 {
        Some("datagrams of another version of the protocol arrive")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_cannot_answer_is_told_with_the_reason() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let four = address("10.0.0.1:7946");
        let six = address("[fd00::1]:7946");
        let any = address("[::]:7946");
        assert_eq!(reason(four, four, false), None);
        assert!(reason(four, four, true).unwrap().contains("itself"));
        assert!(reason(six, four, false).unwrap().contains("IPv6"));
        assert!(reason(four, six, false).unwrap().contains("IPv4"));
        assert_eq!(reason(four, any, false), None, "it may hear both");
    }

    #[test]
    fn what_was_refused_says_why_nobody_is_heard() {
        let mut metrics = Metrics::default();
        assert_eq!(refused(&metrics), None);
        metrics.dropped.key = 1;
        assert!(refused(&metrics).unwrap().contains("key"));
        metrics.dropped.cluster = 1;
        assert!(refused(&metrics).unwrap().contains("cluster"));
    }
}
