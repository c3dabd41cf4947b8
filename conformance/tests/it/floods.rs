//! Floods of forged datagrams: each kind has a bound and a counter.

use conformance::forge::{self, Body, Known};
use conformance::testkit::{LIAR, LIAR_ADDRESS, Loopback, SECOND, WALL, liar, stamp};
use gossip_core::{Event, Node, Status, Vote};

#[test]
fn a_flood_of_members_fills_the_table_to_its_bound_and_no_further() {
    let mut cluster = Loopback::formed(3, |config| config.max_members = 100);
    let mut id = LIAR;
    for _ in 0..200 {
        let mut body = liar().exchange(2, 7);
        for _ in 0..20 {
            id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let address = [10, 0, 0, 1, 0, 9];
            let log = Body::default().entry(1, 0, &[0], Some(&address));
            let log = log.entry(2, 0, &[2], Some(&[1]));
            let known = Known {
                origin: id,
                generation: stamp(2),
                frontier: 2,
            };
            body = body.delta(known, 0, 2, 0, &log.0);
        }
        cluster.forge(&body);
    }
    for node in cluster.nodes() {
        assert!(node.metrics().members <= 100);
    }
    assert!(cluster.node(0).metrics().refused_members > 3000);
    let own: Vec<_> = cluster.nodes().map(Node::id).collect();
    cluster.pass(10 * SECOND);
    for id in own {
        let status = cluster.node(0).member(id).map(|member| member.status());
        assert_eq!(status, Some(Status::Up), "who was there first stays");
    }
}

#[test]
fn a_flood_of_keys_fills_a_log_to_its_bound_and_no_further() {
    let mut cluster = Loopback::formed(3, |config| config.max_state = 1024);
    let mut version = 0_u64;
    for _ in 0..200 {
        let first = version;
        let mut log = Body::default();
        for _ in 0..40 {
            version += 1;
            let key = format!("key {version}");
            log = log.entry(version, 0, key.as_bytes(), Some(b"value"));
        }
        let known = Known {
            origin: LIAR,
            generation: stamp(2),
            frontier: version,
        };
        let forged = liar()
            .exchange(2, 7)
            .delta(known, first, version, 0, &log.0);
        cluster.forge(&forged);
    }
    cluster.pass(5 * SECOND);
    let own: u64 = 3 * 200;
    for node in cluster.nodes() {
        // Twice what a member may write, and what the protocol itself writes: a log and the next.
        assert!(node.metrics().state_bytes < 2 * (1024 + 2048) + own);
    }
    assert!(cluster.node(0).metrics().refused_state > 0);
}

#[test]
fn ids_that_begin_alike_do_no_harm() {
    // Summaries name only the upper half of an id, and regions are divided by its first bits. (That
    // nobody can pick ids which collide in the hash table: `membership::table`.)
    let mut cluster = Loopback::formed(3, |_| {});
    let address = [10, 0, 0, 1, 0, 9];
    let log = Body::default().entry(1, 0, &[0], Some(&address));
    let log = log.entry(2, 0, &[2], Some(&[3])).0;
    for id in 0..200 {
        let known = Known {
            origin: LIAR + id,
            generation: stamp(2),
            frontier: 2,
        };
        cluster.forge(&liar().exchange(2, 7).delta(known, 0, 2, 0, &log));
    }
    assert_eq!(cluster.node(0).metrics().members, 203);
    let exchanges = |cluster: &Loopback| {
        let sent = |node: &Node| node.metrics().bytes_out;
        cluster.nodes().map(sent).sum::<u64>()
    };
    cluster.pass(60 * SECOND);
    for node in cluster.nodes() {
        assert_eq!(node.metrics().members, 203, "all learn of all of them");
    }
    let crowded = |node: &Node| node.metrics().regions_crowded;
    assert!(cluster.nodes().map(crowded).sum::<u64>() > 0);
    assert!(cluster.node(0).metrics().index_collisions < 100);
    assert!(cluster.is_well());
    let before = exchanges(&cluster);
    cluster.pass(60 * SECOND);
    let rest = exchanges(&cluster) - before;
    assert!(
        rest < 60 * 3 * 1000,
        "and are at rest: {rest} bytes in a minute"
    );
}

#[test]
fn a_flood_of_votes_is_bounded_and_passes() {
    // Invented members vote against all who live, and against many whom nobody has heard of; others
    // each time.
    let mut cluster = Loopback::formed(5, |config| config.max_members = 60);
    let own: Vec<_> = cluster.nodes().map(Node::id).collect();
    for round in 1..20_u64 {
        for author in 0..10_u64 {
            let held = |id| cluster.node(0).member(id).unwrap();
            let against = own.iter().map(|id| Known {
                origin: id.as_u64(),
                generation: held(*id).generation().stamp().to_bits(),
                frontier: held(*id).frontier(),
            });
            let invented = (0..40).map(|n| Known {
                origin: round << 40 | author << 20 | n,
                generation: stamp(1),
                frontier: 1,
            });
            // Of every second author, those that count stand behind the first 32, which are heard.
            let mut ballots: Vec<Known> = against.chain(invented).collect();
            if author % 2 == 1 {
                ballots.reverse();
            }
            let votes = ballots
                .into_iter()
                .fold(Body::default(), |votes, known| votes.ballot(known, 30_000));
            let log = Body::default().entry(round, 30_000, &[4], Some(&votes.0));
            let author = Known {
                origin: LIAR + (author << 30),
                generation: stamp(2),
                frontier: round,
            };
            let forged = liar()
                .exchange(2, 7)
                .delta(author, round - 1, round, 0, &log.0);
            cluster.forge(&forged);
        }
    }
    let node = cluster.node(0);
    assert_eq!(node.metrics().members, 15);
    let against = |id| node.votes(id).count();
    assert!(own.iter().all(|id| against(*id) <= 10));
    let heard: usize = own.iter().map(|id| against(*id)).sum();
    assert!(heard > 5, "they are heard: {heard}");
    let is_odd = |vote: Vote| (vote.observer.as_u64() - LIAR) >> 30 & 1 == 1;
    assert!(!own.iter().any(|id| node.votes(*id).any(is_odd)));
    cluster.pass(240 * SECOND);
    let refutations: u64 = cluster.nodes().map(|n| n.metrics().refutations).sum();
    assert!(refutations >= 5, "whoever lives says so: {refutations}");
    for node in cluster.nodes() {
        for id in &own {
            let status = node.member(*id).map(|member| member.status());
            assert_eq!(status, Some(Status::Up), "{id} at {}", node.id());
        }
    }
}

#[test]
fn a_datagram_full_of_votes_is_taken_in_part_and_counted() {
    let mut cluster = Loopback::formed(3, |_| {});
    let votes = |author: u64| {
        let ballot = |votes: Body, n: u64| {
            let generation = stamp(1);
            votes.ballot(
                Known {
                    origin: author << 8 | n,
                    generation,
                    frontier: 0,
                },
                0,
            )
        };
        (0..32).fold(Body::default(), ballot)
    };
    let body = (1..3).fold(liar().exchange(2, 7), |body, author| {
        let log = Body::default().entry(1, 0, &[4], Some(&votes(author).0));
        let known = Known {
            origin: LIAR + author,
            generation: stamp(2),
            frontier: 1,
        };
        body.delta(known, 0, 1, 0, &log.0)
    });
    cluster.forge(&body);
    let metrics = cluster.node(0).metrics();
    assert_eq!((metrics.members, metrics.refused_members), (4, 1));
    cluster.forge(&body);
    assert_eq!(cluster.node(0).metrics().members, 5, "the rest comes again");
}

#[test]
fn a_flood_of_broadcasts_is_bounded_and_counted() {
    let mut cluster = Loopback::formed(3, |config| {
        config.max_state = 1024;
        config.event_queue = 64;
    });
    let mut version = 0_u64;
    let (mut told, mut lagged) = (0, 0);
    cluster.forge(&liar().heartbeat(1));
    let next = |cluster: &mut Loopback| cluster.give(0, |node, _| node.poll_event()).flatten();
    for datagrams in 0..200 {
        let first = version;
        let mut log = Body::default();
        for _ in 0..20 {
            version += 1;
            let mut key = vec![5];
            key.extend_from_slice(&version.to_be_bytes());
            let life = Body::default().fixed(stamp(2)).varint(WALL + 60_000_000);
            let said = life.bytes(b"name").bytes(b"payload");
            log = log.entry(version, 0, &key, Some(&said.0));
        }
        let known = Known {
            origin: LIAR,
            generation: stamp(2),
            frontier: version,
        };
        let body = liar()
            .exchange(2, 7)
            .delta(known, first, version, 0, &log.0);
        // Not `forge`, which takes all events at once.
        let datagram = cluster.framed(&body);
        cluster.deliver(0, LIAR_ADDRESS.into(), &datagram);
        if datagrams % 4 == 3 {
            let mut waiting = 0;
            while let Some(event) = next(&mut cluster) {
                waiting += 1;
                told += usize::from(matches!(event, Event::Broadcast { .. }));
                lagged += usize::from(event == Event::Lagged);
            }
            assert!(waiting <= 64);
        }
    }
    let metrics = cluster.node(0).metrics();
    assert!(told < 200, "as many as a log may hold: {told}");
    assert!(lagged > 0 && metrics.events_lost > 0);
    assert!(metrics.refused_state > 0);
    assert!(metrics.state_bytes < 2 * (1024 + 2048) + 3 * 200);
    cluster.pass(10 * SECOND);
    assert!(cluster.is_well());
}

#[test]
fn a_flood_of_the_map_fills_it_to_its_bound_and_no_further() {
    let mut cluster = Loopback::formed(3, |config| config.max_map = 64 * 1024);
    let taker = Known::of(cluster.node(0), 0);
    for n in 1..500_u64 {
        let whose = Known {
            origin: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            generation: stamp(1),
            frontier: 1,
        };
        let write = Body::default().write(whose, format!("{n}").as_bytes(), Some(&[7; 1000]));
        let run = liar()
            .push()
            .runs(whose, 0, &Body::default().bytes(&write.0).0);
        cluster.forge(&run);
        let log = Known {
            origin: whose.origin ^ 1,
            ..whose
        };
        let part = Body::default()
            .write(log, format!("x{n}").as_bytes(), Some(&[7; 1000]))
            .0;
        let len = u32::try_from(part.len()).unwrap();
        cluster.forge(
            &liar()
                .map_delta(taker)
                .part(log, len, 0, &part)
                .frontier(log),
        );
    }
    let node = cluster.node(0);
    let bytes = node.map().bytes();
    // Of others as much again as of its own; and a delta has room beside what it may replace.
    assert!(bytes <= 4 * 64 * 1024, "{bytes} bytes");
    assert!(node.metrics().refused_state > 100);
    cluster.pass(10 * SECOND);
    assert!(cluster.is_well());
}

#[test]
fn a_flood_of_empty_logs_of_the_map_is_forgotten_to_a_bound() {
    let mut cluster = Loopback::formed(3, |config| config.max_tombstones = 64);
    let taker = Known::of(cluster.node(0), 0);
    let mut id = 0_u64;
    let mut most = 0;
    for _ in 0..60 {
        for _ in 0..20 {
            let mut body = liar().map_delta(taker);
            for _ in 0..10 {
                id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
                body = body.frontier(Known {
                    origin: id,
                    generation: stamp(1),
                    frontier: 1,
                });
            }
            cluster.forge(&body);
        }
        cluster.pass(1 * SECOND);
        let map = cluster.node(0).map();
        most = most.max(map.logs() + map.pruned_origins().count());
    }
    cluster.pass(120 * SECOND);
    assert!(cluster.node(0).metrics().map_logs_forgotten > 100);
    let map = cluster.node(0).map();
    println!(
        "at most {most}; {} logs and {} graves in the end",
        map.logs(),
        map.pruned_origins().count()
    );
    assert!(map.logs() + map.pruned_origins().count() <= 200);
    assert!(cluster.is_well());
}

#[test]
fn a_conflict_tells_no_more_than_a_few_of_many_siblings() {
    let mut cluster = Loopback::formed(1, |_| {});
    let mut versions = [0; 2];
    let mut told = 0;
    for round in 0..40 {
        // Values that are kept and replace nothing but what is in their context, as tombstones may.
        let log = usize::from(round == 39);
        let mut writes = Body::default();
        let after = versions[log];
        for _ in 0..24 {
            versions[log] += 1;
            let write = Body::default().bytes(b"k").fixed(stamp(1));
            let write = write.varint(versions[log]).byte(1).byte(1).byte(0);
            let write = write.byte(1).bytes(&[7; 22]).bytes(&[]);
            writes = writes.bytes(&write.0);
        }
        let whose = Known {
            origin: 77 + u64::try_from(log).unwrap(),
            generation: stamp(1),
            frontier: versions[log],
        };
        cluster.events.clear();
        cluster.forge(&liar().push().runs(whose, after, &writes.0));
        let count = |event: &Event| match event {
            Event::Conflict { standing, lost, .. } => standing.len() + lost.len(),
            _ => 0,
        };
        told = cluster.events.iter().map(count).sum();
    }
    assert_eq!(cluster.node(0).map().writes(), 40 * 24);
    assert_eq!(told, 24 * 16, "sixteen of each conflict");
}

#[test]
fn the_table_of_the_map_is_told_once_however_often_it_is_asked_for() {
    let mut cluster = Loopback::formed(1, |config| config.max_tombstones = 10_000);
    let taker = Known::of(cluster.node(0), 0);
    let mut id = 0_u64;
    for _ in 0..100 {
        let body = (0..10).fold(liar().map_delta(taker), |body, _| {
            id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
            body.frontier(Known {
                origin: id,
                generation: stamp(1),
                frontier: 1,
            })
        });
        cluster.forge(&body);
    }
    assert_eq!(cluster.node(0).map().logs(), 1000);
    let mut syn = liar().exchange(1, 7).byte(forge::item::MAP_SUMMARY);
    syn.0.extend_from_slice(&[200; 16]);
    let datagram = cluster.framed(&syn.fixed(0));
    for _ in 0..50 {
        cluster.deliver(0, LIAR_ADDRESS.into(), &datagram);
    }
    let sent = cluster.settle();
    let tables = sent
        .iter()
        .filter(|(_, bytes)| forge::kind(bytes) == Some(forge::message::MAP_PULL));
    let tables = tables.count();
    assert!((1..=30).contains(&tables), "{tables} datagrams of tables");
}
