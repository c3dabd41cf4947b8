//! What the map would do without one of its rules: messages are altered on their way, so that the
//! receiver acts as if the rule did not exist. The map itself knows nothing of this.

use gossip_core::Generation;
use gossip_core::map::{
    CausalContext, ChunkEnd, ChunkHead, Cursor, DeltaPiece, Frontier, LiveSegment, Map, Origin,
    Run, Write,
};

use super::truth::Ledger;

/// Which rule is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// None.
    Nothing,
    /// No lists of live versions are told.
    Lists,
    /// Lists are told only of those origins whose floor the receiver is below.
    AllOrigins,
    /// Contexts name what a write replaces, and not what that had replaced.
    Contexts,
    /// A part of a delta is applied, and claimed.
    Atomic,
    /// A pushed write is applied wherever it is adjacent, whether its context is known or not.
    Causal,
    /// A pushed write is applied although earlier ones of its origin are missing.
    Gaps,
    /// A log leaves the vector without a name: the floor that it raised brings no lists.
    Names,
    /// A log leaves the vector without a grave.
    Graves,
    /// What has died since a list was made is not told.
    Deaths,
}

impl Missing {
    /// All that can be missing.
    pub const ALL: [Self; 9] = [
        Self::Lists,
        Self::AllOrigins,
        Self::Contexts,
        Self::Atomic,
        Self::Causal,
        Self::Gaps,
        Self::Names,
        Self::Graves,
        Self::Deaths,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Lists => "lists",
            Self::AllOrigins => "all-origins",
            Self::Contexts => "contexts",
            Self::Atomic => "atomic",
            Self::Causal => "causal",
            Self::Gaps => "gaps",
            Self::Names => "names",
            Self::Graves => "graves",
            Self::Deaths => "deaths",
        }
    }
}

/// A part of a chunk that may have been altered.
enum Part {
    Live(Origin, u64, u64, Vec<u8>),
    Write(Origin, Vec<u8>),
    Fragment(Origin, u32, u32, Vec<u8>),
    Frontier(Frontier),
    Gone(Origin, u64),
    Died(Origin, u64, u64, Vec<u8>),
}

/// A chunk that may have been altered.
pub(super) struct Tampered {
    pub(super) head: ChunkHead,
    parts: Vec<Part>,
}

impl Tampered {
    pub(super) fn new<'a>(
        missing: Missing,
        mut head: ChunkHead,
        pieces: impl Iterator<Item = DeltaPiece<'a>>,
        to: &Map,
        from: &Map,
        truth: &Ledger,
    ) -> Self {
        let mut parts = Vec::new();
        // Only names make this delta tell lists.
        let named = missing == Missing::Names
            && from.frontiers().all(|log| {
                to.frontier(log.origin) >= log.floor || truth.is_name((log.origin, log.floor))
            });
        for piece in pieces {
            match piece {
                DeltaPiece::Live(segment) => parts.extend(live(missing, named, &segment, to, from)),
                DeltaPiece::Write {
                    origin,
                    total,
                    offset,
                    bytes,
                } => {
                    let whole = u32::try_from(bytes.len()) == Ok(total);
                    parts.push(if whole {
                        let bytes = match missing {
                            Missing::Contexts => shallow(origin, bytes, truth),
                            _ => bytes.to_vec(),
                        };
                        Part::Write(origin, bytes)
                    } else {
                        Part::Fragment(origin, total, offset, bytes.to_vec())
                    });
                }
                DeltaPiece::Frontier(frontier) => parts.push(Part::Frontier(frontier)),
                DeltaPiece::Died(_) if missing == Missing::Deaths => {}
                DeltaPiece::Died(segment) => {
                    let LiveSegment {
                        origin,
                        after,
                        upto,
                        runs,
                    } = segment;
                    parts.push(Part::Died(origin, after, upto, runs.to_vec()));
                }
                DeltaPiece::Pruned { .. } if missing == Missing::Graves => {}
                DeltaPiece::Pruned { origin, upto } => parts.push(Part::Gone(origin, upto)),
            }
        }
        if missing == Missing::Atomic && head.end != ChunkEnd::Complete {
            claim_part(&mut head, &mut parts);
        }
        Self { head, parts }
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = DeltaPiece<'_>> {
        self.parts.iter().map(|part| match part {
            Part::Live(origin, after, upto, runs) => DeltaPiece::Live(LiveSegment {
                origin: *origin,
                after: *after,
                upto: *upto,
                runs,
            }),
            Part::Died(origin, after, upto, runs) => DeltaPiece::Died(LiveSegment {
                origin: *origin,
                after: *after,
                upto: *upto,
                runs,
            }),
            Part::Write(origin, bytes) => DeltaPiece::Write {
                origin: *origin,
                total: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                offset: 0,
                bytes,
            },
            Part::Fragment(origin, total, offset, bytes) => DeltaPiece::Write {
                origin: *origin,
                total: *total,
                offset: *offset,
                bytes,
            },
            Part::Frontier(frontier) => DeltaPiece::Frontier(*frontier),
            Part::Gone(origin, upto) => DeltaPiece::Pruned {
                origin: *origin,
                upto: *upto,
            },
        })
    }
}

fn live(
    missing: Missing,
    named: bool,
    segment: &LiveSegment<'_>,
    to: &Map,
    from: &Map,
) -> Option<Part> {
    let LiveSegment {
        origin,
        after,
        upto,
        runs,
    } = *segment;
    let log = from.frontiers().find(|log| log.origin == origin);
    let floor = log.map_or(u64::MAX, |log| log.floor);
    let is_left_out = match missing {
        Missing::Lists => true,
        Missing::AllOrigins => to.frontier(origin) >= floor,
        _ => named,
    };
    if !is_left_out {
        return Some(Part::Live(origin, after, upto, runs.to_vec()));
    }
    // As if all of it lived.
    let lives = postcard::to_stdvec(&(0_u64, upto.saturating_sub(after))).ok()?;
    Some(Part::Live(origin, after, upto, lives))
}

/// Makes a chunk that is not the last claim what it brings.
fn claim_part(head: &mut ChunkHead, parts: &mut Vec<Part>) {
    let claims: Vec<Part> = parts
        .iter()
        .filter_map(|part| {
            let Part::Write(origin, bytes) = part else {
                return None;
            };
            Some(Part::Frontier(Frontier {
                origin: *origin,
                frontier: Write::decode(bytes)?.version,
                floor: 0,
            }))
        })
        .collect();
    if claims.is_empty() {
        return;
    }
    parts.retain(|part| matches!(part, Part::Write(..) | Part::Fragment(..)));
    parts.extend(claims);
    *head = ChunkHead {
        session: 0,
        receiver: head.receiver,
        after: Cursor::default(),
        upto: Cursor::default(),
        as_of: head.as_of,
        prune_stamp: Generation::ZERO,
        end: ChunkEnd::Complete,
    };
}

/// The write without what was replaced only indirectly.
fn shallow(origin: Origin, bytes: &[u8], truth: &Ledger) -> Vec<u8> {
    let Some(write) = Write::decode(bytes) else {
        return bytes.to_vec();
    };
    let direct = truth.direct((origin, write.version));
    let dots: Vec<(Origin, u64)> = CausalContext(write.context)
        .into_iter()
        .filter(|dot| direct.is_some_and(|direct| direct.contains(dot)))
        .collect();
    let context = CausalContext::encode(&dots);
    Write {
        context: &context,
        ..write
    }
    .encode()
    .into_vec()
}

/// The writes of a run as they arrive, where they are altered.
pub(super) fn run(missing: Missing, run: &Run<'_>, truth: &Ledger) -> Option<Vec<u8>> {
    if missing != Missing::Contexts {
        return None;
    }
    let mut writes = Vec::new();
    for write in run.writes() {
        let bytes = shallow(run.origin, write, truth);
        writes.extend(postcard::to_stdvec(&bytes).unwrap_or_default());
    }
    Some(writes)
}

/// A run as the pieces of a delta.
pub(super) fn as_pieces<'a>(run: &Run<'a>) -> Vec<DeltaPiece<'a>> {
    let origin = run.origin;
    let mut pieces: Vec<DeltaPiece<'a>> = run
        .writes()
        .map(|bytes| DeltaPiece::Write {
            origin,
            total: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            offset: 0,
            bytes,
        })
        .collect();
    pieces.push(DeltaPiece::Frontier(Frontier {
        origin,
        frontier: run.upto,
        floor: 0,
    }));
    pieces
}
