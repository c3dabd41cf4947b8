//! What a datagram says, in words.

use alloc::format;
use core::fmt;

use super::{AllItems, AnyItem, Dissection};
use crate::shared_map::replica::{
    self, Cursor, DeltaPiece, Frontier, Origin, VectorItem, Write, read_chunk, read_pull,
    read_wanted,
};
use crate::state::attribute::{self, Declared};
use crate::state::broadcast;
use crate::state::entry::{Entries, Entry};
use crate::wire::message::{Delta, Extent, Item, Message, ModeTag, Summary, read_clock};

impl fmt::Display for Dissection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sender = self.datagram.sender;
        let from = format!("from {} ({})", sender.id, sender.generation);
        let items = self.datagram.items.bytes();
        match self.datagram.message {
            Message::Heartbeat { counter } => write!(f, "heartbeat {counter} {from}"),
            Message::Ping { token } => write!(f, "ping {token:08x} {from}"),
            Message::Pong { token } => write!(f, "pong {token:08x} {from}"),
            Message::Probe { token } => write!(
                f,
                "probe {token:08x} of the path, {} bytes more, {from}",
                items.len()
            ),
            Message::Claim { since } => write!(f, "claim of the name {from}: held since {since}"),
            Message::Exchange(head) => {
                let leg = head.leg;
                let mode = match head.mode {
                    ModeTag::Push => "push",
                    ModeTag::Pull => "pull",
                    ModeTag::PushPull => "push-pull",
                };
                let extent = match head.extent {
                    Extent::Whole => "whole",
                    Extent::Part => "in part",
                    Extent::Last => "the last part",
                    Extent::Truncated => "cut short",
                };
                let name = match leg {
                    1 => "SYN",
                    2 => "ACK",
                    3 => "ACK2",
                    _ => "narrowing down",
                };
                write!(f, "exchange, leg {leg} ({name}), {mode}, {extent}, {from}")?;
                write!(f, "\n  table {:032x}", u128::from_le_bytes(head.hash))?;
                if head.prune_time > 0 {
                    write!(
                        f,
                        "\n  removed members forgotten up to second {}",
                        head.prune_time
                    )?;
                }
                AllItems(items).try_for_each(|item| fmt::Display::fmt(&item, f))
            }
            Message::Push(head) => {
                write!(
                    f,
                    "push down tree {}, to {}, {from}",
                    head.tree, head.segment
                )?;
                AllItems(items).try_for_each(|item| fmt::Display::fmt(&item, f))
            }
            Message::MapPull => {
                write!(f, "request of the map {from}")?;
                let Some((pull, told)) = read_pull(items) else {
                    return Ok(());
                };
                let hash = u128::from_le_bytes(pull.hash);
                write!(
                    f,
                    "\n  map {hash:032x}, forgotten up to {}",
                    pull.prune_stamp
                )?;
                if pull.ask {
                    write!(
                        f,
                        "\n  asks for stream {} at {:?}",
                        pull.session, pull.cursor
                    )?;
                }
                told.clone().try_for_each(|told| fmt_told(&told, f))
            }
            Message::MapWant => {
                write!(f, "request of missing writes of the map {from}")?;
                let mut wanted = read_wanted(items).into_iter().flatten();
                wanted.try_for_each(|wanted| {
                    let (origin, first) = (Whose(&wanted.origin), wanted.after.saturating_add(1));
                    write!(f, "\n  writes of {origin}: {first} to {}", wanted.upto)
                })
            }
            Message::MapRuns => {
                write!(f, "missing writes of the map {from}")?;
                AllItems(items).try_for_each(|item| fmt::Display::fmt(&item, f))
            }
            Message::MapChunk => {
                write!(f, "delta of the map {from}")?;
                let Some((head, pieces)) = read_chunk(items) else {
                    return Ok(());
                };
                let (session, receiver) = (head.session, Whose(&head.receiver));
                let end = match head.end {
                    replica::ChunkEnd::More => "more follows",
                    replica::ChunkEnd::Pause => "more follows when it is asked for",
                    replica::ChunkEnd::Complete => "this is all",
                };
                write!(f, "\n  stream {session} for {receiver}; {end}")?;
                write!(f, "\n  from {} to {}", At(head.after), At(head.upto))?;
                pieces.clone().try_for_each(|piece| fmt_piece(&piece, f))
            }
        }
    }
}

impl fmt::Display for AnyItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown((kind, bytes)) => {
                write!(
                    f,
                    "\n  item of the later kind {kind}: {} bytes",
                    bytes.len()
                )
            }
            Self::Known(Item::Delta(delta)) => {
                let Delta {
                    origin,
                    generation,
                    after,
                    upto,
                    frontier,
                    floor,
                    ..
                } = delta;
                write!(
                    f,
                    "\n  delta of {origin} ({generation}): versions {after} to {upto} of {frontier}"
                )?;
                if *floor > 0 {
                    write!(f, ", collected up to {floor}")?;
                }
                Entries::new(delta.entries).try_for_each(|entry| fmt_entry(&entry, f))
            }
            Self::Known(Item::Summary(summary)) => {
                write!(f, "\n  knows {}", Hint(summary))
            }
            Self::Known(Item::Want(summary)) => {
                write!(f, "\n  asks for {}", Hint(summary))
            }
            Self::Known(Item::Resume(resume)) => {
                write!(f, "\n  goes on with {}", Hint(&resume.told))
            }
            Self::Known(Item::MapRun(run)) => {
                write!(
                    f,
                    "\n  writes of {}: versions {} to {}",
                    Whose(&run.origin),
                    run.after,
                    run.upto
                )?;
                run.writes().try_for_each(|bytes| fmt_write(bytes, f))
            }
            Self::Known(Item::MapTold(told)) => fmt_told(told, f),
            Self::Known(Item::MapSummary(summary)) => {
                let hash = u128::from_le_bytes(summary.hash);
                write!(
                    f,
                    "\n  map {hash:032x}, forgotten up to {}",
                    summary.forgotten
                )
            }
            Self::Known(Item::Split(split)) => {
                let parts = split.digests.len().div_euclid(4);
                write!(f, "\n  {parts} hashes over {}", split.region)
            }
            Self::Known(Item::Complete(region)) => write!(f, "\n  has named all of {region}"),
            Self::Known(Item::Removed(generation)) => {
                write!(f, "\n  has removed you, known under {generation}")
            }
            Self::Known(Item::Echo(token)) => write!(f, "\n  echoes {token:08x}"),
            Self::Known(Item::Clock(bytes)) => {
                let wall = read_clock(bytes).unwrap_or_default();
                write!(f, "\n  its clock shows {} ms", wall.as_millis())
            }
            Self::Known(Item::Full(_)) => f.write_str("\n  has no place for you"),
        }
    }
}

/// A hint at an origin, and how far it is known.
struct Hint<'a>(&'a Summary);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            prefix,
            check,
            frontier,
        } = self.0;
        write!(f, "{prefix:08x}… ({check:04x}) up to {frontier}")
    }
}

/// A place in a stream of the map.
struct At(Cursor);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cursor {
            live_set,
            segments,
            position,
            offset,
        } = self.0;
        write!(f, "change {position}")?;
        if offset > 0 {
            write!(f, " byte {offset}")?;
        }
        if live_set > 0 {
            write!(f, " (list {live_set}, segment {segments})")?;
        }
        Ok(())
    }
}

/// A writer of the map.
struct Whose<'a>(&'a Origin);

impl fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.id, self.0.generation)
    }
}

/// Text from another node: escaped, and cut if it is long.
struct Text<'a>(&'a [u8]);

/// How many bytes of a text are printed.
const SHOWN: usize = 48;

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..SHOWN).unwrap_or(self.0);
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            write!(f, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

fn fmt_entry(entry: &Entry<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "\n    {:>4} ", entry.version)?;
    let key = entry.key;
    let Some(value) = entry.value else {
        return write!(f, "{} is deleted", Text(key));
    };
    match key {
        attribute::ADDRESS => match attribute::decode_address(value) {
            Some(address) => write!(f, "address {address}"),
            None => write!(f, "address {}", Text(value)),
        },
        attribute::NAME => write!(f, "name {}", Text(value)),
        attribute::STATUS => {
            let status = match Declared::decode(value) {
                Declared::Joining => "joining",
                Declared::Up => "up",
                Declared::Leaving => "leaving",
                Declared::Left => "left",
            };
            write!(f, "status {status}")
        }
        attribute::DATACENTER => write!(f, "datacenter {}", Text(value)),
        attribute::VOTES => {
            write!(f, "votes against")?;
            let mut votes = attribute::decode_votes(value);
            votes.try_for_each(|vote| write!(f, " {}", vote.subject))
        }
        attribute::BURIED => write!(f, "removed"),
        broadcast::OVER => write!(f, "broadcasts that are over"),
        _ => match (broadcast::number(key), broadcast::Body::decode(value)) {
            (Some(number), Some(body)) => {
                let (name, payload) = (Text(body.name.as_bytes()), Text(body.payload));
                write!(f, "broadcast {number} {name}: {payload}")
            }
            _ => write!(f, "{} = {}", Text(key), Text(value)),
        },
    }
}

fn fmt_write(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(write) = Write::decode(bytes) else {
        return write!(f, "\n    part of a write");
    };
    write!(f, "\n    {:>4} {}", write.version, Text(write.key))?;
    match write.value {
        Some(value) => write!(f, " = {}", Text(value)),
        None => write!(f, " is deleted"),
    }
}

fn fmt_told(told: &VectorItem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match told {
        VectorItem::Frontier(origin, upto) => write!(f, "\n  knows {} up to {upto}", Whose(origin)),
        VectorItem::Complete(None, None) => write!(f, "\n  and nobody else"),
        VectorItem::Complete(..) => write!(f, "\n  and nobody else in its part of the writers"),
    }
}

fn fmt_piece(piece: &DeltaPiece<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match piece {
        DeltaPiece::Live(segment) => write!(
            f,
            "\n  lists what lives of {} from {} to {}",
            Whose(&segment.origin),
            segment.after,
            segment.upto
        ),
        DeltaPiece::Died(segment) => write!(
            f,
            "\n  lists what has died of {} from {} to {}",
            Whose(&segment.origin),
            segment.after,
            segment.upto
        ),
        DeltaPiece::Write {
            origin,
            total,
            offset,
            bytes,
        } => {
            write!(
                f,
                "\n  write of {}: {} bytes at {offset} of {total}",
                Whose(origin),
                bytes.len()
            )?;
            fmt_write(bytes, f)
        }
        DeltaPiece::Frontier(Frontier {
            origin,
            frontier,
            floor,
        }) => write!(
            f,
            "\n  knows {} up to {frontier}, collected up to {floor}",
            Whose(origin)
        ),
        DeltaPiece::Pruned { origin, upto } => {
            write!(
                f,
                "\n  has forgotten {}, of which nothing lives up to {upto}",
                Whose(origin)
            )
        }
    }
}
