//! What the conformance suite does not ask: names among the seeds, and futures that are dropped.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::future::Future;
use std::time::Duration;

use async_std::future::timeout;
use async_std::task::block_on;
use futures_lite::{FutureExt, StreamExt, future};
use gossip_async_std::gossip_core::{
    self, Command, CommandError, Event, JoinCause, Key, Node, NodeId, Value,
};
use gossip_async_std::{Config, Events, Handle, NoAgreement, SpawnError, spawn};

fn config(name: &str) -> Config {
    let mut config = Config::new(name, "127.0.0.1:0".parse().unwrap());
    config.node = gossip_core::Config::local();
    config
}

/// Far more than what is waited for takes.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.unwrap()
}

async fn start(name: &str, seeds: Vec<String>) -> (Handle, Events) {
    let mut config = config(name);
    config.seeds = seeds;
    spawn(config).await.unwrap()
}

async fn until_up(events: &mut Events, wanted: NodeId) {
    let up = |event| matches!(event, Event::MemberUp { id, .. } if id == wanted);
    assert!(soon(events.any(up)).await);
}

#[test]
fn a_seed_may_have_a_name() {
    block_on(async {
        let (a, _) = start("a", Vec::new()).await;
        let seed = format!("localhost:{}", a.local_addr().port());
        let (_b, mut events) = start("b", vec![seed]).await;
        until_up(&mut events, a.read(Node::id)).await;
    });
}

#[test]
fn a_seed_that_cannot_be_looked_up_is_told_and_hinders_nothing() {
    block_on(async {
        let (a, _) = start("a", Vec::new()).await;
        let missing = "missing.invalid:7946";
        let seeds = vec![missing.to_owned(), a.local_addr().to_string()];
        let (b, mut events) = start("b", seeds).await;
        until_up(&mut events, a.read(Node::id)).await;
        soon(async {
            while b.faults().unresolved.is_empty() {
                future::yield_now().await;
            }
        })
        .await;
        assert_eq!(b.faults().unresolved.first().unwrap().0, missing);
    });
}

#[test]
fn a_seed_that_is_no_host_with_a_port_is_refused() {
    let mut config = config("a");
    config.seeds = vec!["nowhere".to_owned()];
    let refused = block_on(spawn(config)).unwrap_err();
    assert!(matches!(refused, SpawnError::Seed(_)), "{refused}");
}

#[test]
fn the_unspecified_address_must_not_be_advertised() {
    let mut config = config("a");
    config.bind = "0.0.0.0:0".parse().unwrap();
    let refused = block_on(spawn(config.clone())).unwrap_err();
    assert!(refused.to_string().contains("advertise"), "{refused}");
    config.advertise = Some("127.0.0.1:0".parse().unwrap());
    let (node, _events) = block_on(spawn(config)).unwrap();
    let told = node.read(|node| node.member(node.id()).unwrap().address());
    assert_eq!(
        told.to_string(),
        format!("127.0.0.1:{}", node.local_addr().port())
    );
}

#[test]
fn a_dropped_wait_loses_no_event() {
    block_on(async {
        let (a, mut events) = start("a", Vec::new()).await;
        let seed = a.local_addr().to_string();
        let mut told = Vec::new();
        let (b, _) = start("b", vec![seed]).await;
        // Each wait is given up at once, many of them in the middle.
        let up = |told: &[Event]| told.iter().any(|e| matches!(e, Event::MemberUp { .. }));
        soon(async {
            while !up(&told) {
                let next = async { events.next().await };
                told.extend(next.or(async { None }).await);
                future::yield_now().await;
            }
        })
        .await;
        let cause = JoinCause::NoSeeds;
        assert_eq!(told.first(), Some(&Event::Joined { members: 0, cause }));
        assert_eq!(told.len(), 2, "{told:?}");
        drop(b);
    });
}

#[test]
fn everybody_who_waits_for_the_end_is_told() {
    block_on(async {
        let (a, mut events) = start("a", Vec::new()).await;
        let waits = future::zip(a.join(), future::zip(a.join(), events.find(|_| false)));
        let stop = async {
            future::yield_now().await;
            a.shutdown();
        };
        let ((one, (two, none)), ()) = soon(future::zip(waits, stop)).await;
        one.unwrap();
        two.unwrap();
        assert_eq!(none, None);
        assert_eq!(
            a.read(Node::id),
            a.read(Node::id),
            "it can still be looked at"
        );
    });
}

#[test]
fn a_wait_for_agreement_ends_when_all_show_the_same() {
    block_on(async {
        let (a, mut a_events) = start("a", Vec::new()).await;
        let (b, _b_events) = start("b", vec![a.local_addr().to_string()]).await;
        until_up(&mut a_events, b.read(Node::id)).await;
        let schema = Key::new("schema").unwrap();
        let set = |node: &Handle| {
            let (key, value) = (schema.clone(), Value::new("v5").unwrap());
            node.command(Command::Set { key, value }).unwrap();
        };
        set(&a);
        let soon = Duration::from_millis(1);
        match a.wait_agreement(&schema, soon).await {
            Err(NoAgreement::Yet(agreement)) => {
                let apart: Vec<_> = agreement.differing().collect();
                assert_eq!(apart, [b.read(Node::id)]);
            }
            other => panic!("{other:?}"),
        }
        // What ends the wait: nobody takes events, and nobody calls a.
        let late = Duration::from_secs(30);
        let follow = async { set(&b) };
        let (reached, ()) = future::zip(a.wait_agreement(&schema, late), follow).await;
        reached.unwrap();

        let key = schema.clone();
        a.command(Command::Unset { key }).unwrap();
        let stop = async { a.shutdown() };
        let (stopped, ()) = future::zip(a.wait_agreement(&schema, late), stop).await;
        assert_eq!(stopped, Err(CommandError::Stopped.into()));
    });
}
