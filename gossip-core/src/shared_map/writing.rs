//! How the messages about the map are written: from the map as it is when they leave.

use alloc::sync::Arc;

use super::machine::SharedMap;
use super::pushing::TREE;
use super::replica::{ChunkEnd, write_pull, write_wanted};
use crate::context::{Context, MapOutgoing, SharedRun};
use crate::membership::segment::Segment;
use crate::wire::datagram::{Encoder, Space};
use crate::wire::message::{Item, Message, PushHead};

impl SharedMap {
    /// Writes a message about the map. Returns how long it is, and what is left of it.
    pub(crate) fn write_message(
        &mut self,
        context: &Context,
        message: MapOutgoing,
        space: Space<'_>,
    ) -> Option<(usize, Option<MapOutgoing>)> {
        let sender = context.sender();
        match message {
            MapOutgoing::Chunks { to, session, left } => {
                let (head, room) = Encoder::split(space, sender, Message::MapChunk)?;
                let last = left <= 1;
                let (len, end) = self.sending.write_chunk(&self.map, session, last, room)?;
                let left = left.saturating_sub(1);
                let rest = MapOutgoing::Chunks { to, session, left };
                let rest = (end == ChunkEnd::More).then_some(rest);
                Some((head.saturating_add(len), rest))
            }
            MapOutgoing::Pull { peer, told, .. } => {
                let pull = self.receiving.pull(&self.map, peer);
                let (head, room) = Encoder::split(space, sender, Message::MapPull)?;
                let (len, _) = write_pull(&pull, &told, room)?;
                Some((head.saturating_add(len), None))
            }
            MapOutgoing::Table { to, after, ask } => {
                let pull = self.map.summary().to_pull(ask);
                let (head, room) = Encoder::split(space, sender, Message::MapPull)?;
                let (len, next) = self.map.write_table(&pull, after, room)?;
                let rest = next.map(|next| MapOutgoing::Table {
                    to,
                    after: Some(next),
                    ask,
                });
                Some((head.saturating_add(len), rest))
            }
            MapOutgoing::Push {
                tree,
                delegation,
                runs,
                sent,
            } => {
                let segment = delegation.segment;
                let push = PushHead { tree, segment };
                let mut encoder = Encoder::new(space, sender, Message::Push(push))?;
                let left = runs.get(sent..)?;
                let fit = |run: &&SharedRun| encoder.item(&Item::MapRun(run.run()));
                let written = left.iter().take_while(fit).count();
                if written == 0 {
                    return None;
                }
                let (now, _) = left.split_at(written);
                for told in self.repair.tell(context.now, now) {
                    encoder.item(&Item::MapTold(told));
                }
                let rest = MapOutgoing::Push {
                    tree,
                    delegation,
                    sent: sent.saturating_add(written),
                    runs: Arc::clone(&runs),
                };
                let rest = (written < left.len()).then_some(rest);
                Some((encoder.len(), rest))
            }
            MapOutgoing::Told { to, told } => {
                let segment = Segment::only(to);
                let push = PushHead {
                    tree: TREE,
                    segment,
                };
                let mut encoder = Encoder::new(space, sender, Message::Push(push))?;
                for told in told {
                    encoder.item(&Item::MapTold(told));
                }
                Some((encoder.len(), None))
            }
            MapOutgoing::Want { wanted, .. } => {
                let (head, room) = Encoder::split(space, sender, Message::MapWant)?;
                Some((head.saturating_add(write_wanted(&wanted, room)), None))
            }
            MapOutgoing::Runs { to, mut runs } => {
                let mut encoder = Encoder::new(space, sender, Message::MapRuns)?;
                while let Some((origin, upto)) = runs.pop() {
                    let run = self.repair.runs.get(origin, upto);
                    if run.is_some_and(|run| !encoder.item(&Item::MapRun(run)))
                        && !encoder.is_empty()
                    {
                        runs.push((origin, upto));
                        break;
                    }
                }
                let rest = (!runs.is_empty()).then_some(MapOutgoing::Runs { to, runs });
                (!encoder.is_empty()).then(|| (encoder.len(), rest))
            }
        }
    }
}
