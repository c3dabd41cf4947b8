//! What applications write.

use std::thread;

use gossip_core::{Command, CommandError, Event, Value};

use crate::suite::adapter::{Adapter, Handle};
use crate::suite::stage::{Check, Failure, SLOW, Stage, ensure, fail, holds, key, set, value};

/// A value that is set, replaced and deleted is told to the others, and shows in their views.
pub(super) fn spread<A: Adapter>(stage: &Stage<A>) -> Check {
    let [a, mut b, mut c] = stage.cluster()?;
    for wanted in ["db", "web", "a longer text than the others"] {
        a.sets("role", wanted)?;
        for peer in [&mut b, &mut c] {
            peer.hears_value(a.id, "role", Some(wanted))?;
            ensure(peer.holds(a.id, "role", wanted), || {
                format!("{} was told of {wanted:?}, but does not hold it", peer.name)
            })?;
        }
    }
    a.commands(Command::Unset { key: key("role")? })?;
    for peer in [&mut b, &mut c] {
        peer.hears_value(a.id, "role", None)?;
        ensure(peer.value(a.id, "role")?.is_none(), || {
            format!("{} was told of a deletion, but holds the value", peer.name)
        })?;
    }
    Ok(())
}

/// One node of five moves to a new schema, the others follow, and each is told when all have.
pub(super) fn agreement<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut peers = stage.cluster::<5>()?;
    for peer in &peers {
        let key = key("schema")?;
        peer.commands(Command::Watch { key })?;
    }
    let [first, others @ ..] = &mut peers;
    first.sets("schema", "v5")?;
    for peer in others {
        peer.hears_value(first.id, "schema", Some("v5"))?;
        peer.sets("schema", "v5")?;
    }
    let v5 = Some(value("v5")?);
    for peer in &mut peers {
        peer.hears("that all are at v5", |event| match event {
            Event::AgreementReached { key, value } if key.as_str() == "schema" => {
                (*value == v5).then_some(())
            }
            _ => None,
        })?;
        let schema = key("schema")?;
        let agreement = peer.handle.read(move |node| node.agreement(&schema));
        let shown = agreement.shown.as_slice();
        ensure(
            agreement.agreeing() == 5 && matches!(shown, [all] if all.value == v5),
            || format!("{} was told of agreement and shows {shown:?}", peer.name),
        )?;
    }
    Ok(())
}

const BROADCASTS: u32 = 30;

/// Broadcasts are told to all others, each once and in the order of their writer; also to one that
/// joins before they have expired.
pub(super) fn broadcasts<A: Adapter>(stage: &Stage<A>) -> Check {
    let [a, mut b, mut c] = stage.cluster()?;
    for number in 1..=BROADCASTS {
        let (name, payload) = (key("news")?, value(&number.to_string())?);
        a.commands(Command::Broadcast { name, payload })?;
    }
    let mut d = stage.start("d", &[&a])?;
    for peer in [&mut b, &mut c, &mut d] {
        let mut told = 0;
        peer.hears("the last broadcast", |event| {
            told += u32::from(matches!(event, Event::Broadcast { .. }));
            (told == BROADCASTS).then_some(())
        })?;
        // Whatever is told twice comes with what comes next.
        let name = peer.name.clone();
        a.sets("told", &name)?;
        peer.hears_value(a.id, "told", Some(&name))?;
        let numbers = peer.told.iter().filter_map(|event| match event {
            Event::Broadcast {
                from,
                number,
                payload,
                ..
            } if *from == a.id => Some((*number, payload.as_bytes())),
            _ => None,
        });
        let right = (1..=u64::from(BROADCASTS)).map(|number| (number, number.to_string()));
        let right: Vec<_> = right.collect();
        let right = right
            .iter()
            .map(|(number, text)| (*number, text.as_bytes()));
        ensure(numbers.clone().eq(right), || {
            let numbers: Vec<_> = numbers.map(|(number, _)| number).collect();
            format!("{} was told the broadcasts {numbers:?}", peer.name)
        })?;
    }
    Ok(())
}

/// What follows from a command, or from a datagram, does not wait for the next timer.
pub(super) fn at_once<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut a = stage.start_as(stage.slow_spec("a", &[]))?;
    let mut b = stage.start_as(stage.slow_spec("b", &[&a]))?;
    // Those who join at the same moment hear of each other in a round, which would take too long.
    a.meets(&[b.id])?;
    // The first round goes to all seeds. Nobody answers at the first two of these.
    let mut spec = stage.slow_spec("c", &[&a]);
    for _ in 0..2 {
        spec.config.seeds.insert(0, stage.closed_address()?);
    }
    let mut c = stage.start_as(spec)?;
    let everybody = [a.id, b.id, c.id];
    for peer in [&mut a, &mut b, &mut c] {
        peer.meets(&everybody)?;
    }
    let soon = stage.patience.min(SLOW / 4);
    // Often, because any datagram that happens to come late wakes a node that sleeps through commands.
    for round in 1..=20 {
        let round = &*round.to_string();
        a.sets("round", round)?;
        b.hears_value_within(soon, a.id, "round", Some(round))?;
        c.hears_value_within(soon, a.id, "round", Some(round))?;
        b.sets("round", round)?;
        a.hears_value_within(soon, b.id, "round", Some(round))?;
        c.hears_value_within(soon, b.id, "round", Some(round))?;
    }
    Ok(())
}

/// Whoever gives a command that is refused learns why, and nothing has changed.
pub(super) fn refused<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut spec = stage.spec("a", &[]);
    spec.config.max_state = 256;
    let a = stage.start_as(spec)?;
    let large = Value::new([b'x'; 1000]).map_err(|error| Failure(error.to_string()))?;
    let command = Command::Set {
        key: key("large")?,
        value: large,
    };
    match a.handle.command(command) {
        Err(CommandError::StateFull { limit: 256, .. }) => {}
        other => return fail(format!("a write beyond max_state came to {other:?}")),
    }
    ensure(a.value(a.id, "large")?.is_none(), || {
        "a refused write shows in the view".to_owned()
    })?;
    match a.handle.command(Command::Forget { id: a.id }) {
        Err(CommandError::MemberAlive(id)) if id == a.id => Ok(()),
        other => fail(format!("forgetting a live member came to {other:?}")),
    }
}

const THREADS: usize = 8;
const WRITES: usize = 100;

/// Commands that come from many threads at once are all carried out, in each thread's order.
pub(super) fn many_threads<A: Adapter>(stage: &Stage<A>) -> Check {
    let [a, b] = stage.cluster()?;
    let names: Vec<String> = (0..THREADS).map(|n| format!("thread-{n}")).collect();
    let checks: Vec<Check> = thread::scope(|scope| {
        let write = |name: &'_ String| {
            let (handle, id, name) = (a.handle.clone(), a.id, name.clone());
            scope.spawn(move || {
                for round in 1..=WRITES {
                    let text = round.to_string();
                    set(&handle, &name, &text)?;
                    ensure(holds(&handle, id, &name, &text), || {
                        format!("{name} wrote {round}, and the node does not hold it")
                    })?;
                }
                Ok(())
            })
        };
        let threads: Vec<_> = names.iter().map(write).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Check>| {
            let joined = thread.join();
            joined.unwrap_or_else(|_| fail("a thread that gave commands panicked"))
        };
        threads.into_iter().map(join).collect()
    });
    checks.into_iter().collect::<Check>()?;
    let last = WRITES.to_string();
    for name in &names {
        stage.until(&format!("b to hold the last value of {name}"), || {
            b.holds(a.id, name, &last)
        })?;
    }
    Ok(())
}
