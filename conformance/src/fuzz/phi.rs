//! Target `phi`: a neighbour whose heartbeats come at any times whatever.

use core::time::Duration;

use gossip_core::{Config, Identity, Instant, Node, PhiModel};

use super::bytes::Bytes;
use super::{FEW_SAMPLES, WALL, address};

/// Where the kind of the message stands in a datagram: after the frame's head and the sender.
const KIND: usize = 6 + 16;
const HEARTBEAT: u8 = 0;
/// Heartbeats and looks read from one input, at most.
const MOST: usize = 160;
/// The observer is not asked to live longer than this between two heartbeats: its own rounds take
/// the fuzzer's time.
const LONGEST: Duration = Duration::from_secs(30);
/// Except in the end.
const SILENCE: Duration = Duration::from_secs(120);

/// One neighbour observes another: however the heartbeats come, phi is finite, not negative, and
/// never falls while nothing comes.
///
/// # Panics
/// Where a node does, or where phi is otherwise.
pub fn phi(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let model = *bytes.pick(&[PhiModel::StudentT, PhiModel::Normal, PhiModel::Exponential]);
    let window = bytes.byte() % 61 + 4;
    let (mut observer, mut subject) = (node(1, model, window), node(2, model, FEW_SAMPLES));
    let mut clocks = (Instant::ORIGIN, Instant::ORIGIN);
    // They meet.
    for _ in 0..3 {
        pass_all(&mut subject, clocks.1, &mut observer, clocks.0);
        pass_all(&mut observer, clocks.0, &mut subject, clocks.1);
    }
    for _ in 0..MOST {
        if bytes.is_empty() {
            break;
        }
        silence(
            &mut observer,
            &mut clocks.0,
            subject.id(),
            bytes.time().min(LONGEST),
        );
        clocks.1 = clocks.1.saturating_add(Duration::from_millis(1050));
        subject.handle_timeout(clocks.1);
        let mut buffer = [0; 1400];
        while let Some(datagram) = subject.poll_transmit(clocks.1, &mut buffer) {
            if datagram.payload.get(KIND) == Some(&HEARTBEAT) {
                observer.handle_datagram(clocks.0, address(2), datagram.payload);
            }
        }
    }
    silence(&mut observer, &mut clocks.0, subject.id(), SILENCE);
}

/// Nothing comes for so long.
fn silence(observer: &mut Node, now: &mut Instant, of: gossip_core::NodeId, lasts: Duration) {
    let end = now.saturating_add(lasts);
    let mut last = observer.phi(of).unwrap_or(0.0);
    while *now < end {
        *now = observer
            .poll_timeout()
            .map_or(end, |due| due.min(end))
            .max(*now);
        observer.handle_timeout(*now);
        let mut buffer = [0; 1400];
        while observer.poll_transmit(*now, &mut buffer).is_some() {}
        while observer.poll_event().is_some() {}
        let Some(phi) = observer.phi(of) else { return };
        assert!(phi.is_finite() && phi >= 0.0, "phi is {phi}");
        assert!(phi >= last, "phi fell from {last} to {phi} in silence");
        last = phi;
    }
}

fn pass_all(from: &mut Node, at: Instant, to: &mut Node, there: Instant) {
    let mut buffer = [0; 1400];
    while let Some(datagram) = from.poll_transmit(at, &mut buffer) {
        let sender = if datagram.to == address(1) { 2 } else { 1 };
        to.handle_datagram(there, address(sender), datagram.payload);
    }
}

fn node(number: u16, model: PhiModel, window: u8) -> Node {
    let mut config = Config::lan();
    config.phi_model = model;
    config.window = window;
    config.seeds = vec![address(1), address(2)];
    let identity = Identity::new(&format!("n{number}"), address(number)).expect("a legal identity");
    let mut seed = [7; 32];
    seed[0] = u8::try_from(number).unwrap_or(0);
    Node::new(config, identity, seed, Instant::ORIGIN, WALL).expect("a legal configuration")
}
