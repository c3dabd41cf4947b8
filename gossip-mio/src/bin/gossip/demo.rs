//! `gossip demo`: a cluster of real nodes on this machine, and what happens to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use gossip_mio::gossip_core::{Command, Event, Generation, Key, Node, NodeId, Status, Value};
use gossip_mio::{Config, Events, Handle, spawn};

use crate::report::{Format, Report, Tone};
use crate::story::{Level, Story};
use crate::{Failure, parse};

/// Run a small cluster on this machine and tell its story.
///
/// Real nodes on loopback ports chosen by the system find each other, agree on a new schema, lose
/// one of them without a word, take it back and see another one off. Each step has a time limit; the
/// exit code is 0 when all were met, else 1. Takes about 12 intervals.
#[derive(Args, Debug)]
#[command(after_long_help = JSON)]
pub(crate) struct Options {
    /// How many nodes, 4 to 50
    #[arg(long, value_name = "N", default_value = "5", value_parser = nodes)]
    nodes: usize,

    /// Time between two rounds, such as 500ms or 1s. The steps' time limits follow it
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse::duration)]
    interval: Duration,

    /// Print one JSON object on each line
    #[arg(long)]
    json: bool,
}

const JSON: &str = "\
JSON lines: each object has t (seconds since the start) and event, which is one of
  the events of gossip agent, each with observer: the node that saw it
  phi        observer, name, phi (null where not observed), status, votes
  step       step, asked, limit_s, took_s (null unless ok), result: ok, failed or not_run
  summary    ok";

fn nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(nodes @ 4..=50) => Ok(nodes),
        _ => Err("it is not a number from 4 to 50: node-4 has a part in the story".to_owned()),
    }
}

/// How often views are looked at while nothing is heard of.
const TICK: Duration = Duration::from_millis(20);

/// The attribute whose change is followed, before and after.
const SCHEMA: &str = "schema";
const OLD: &str = "v4";
const NEW: &str = "v5";

/// Silence that a busy machine may cause. At a second's interval the usual patience covers it.
const HICCUP: Duration = Duration::from_millis(500);

/// Heartbeats that make a rhythm: a silence is judged by the intervals between earlier ones.
const HEARTBEATS: u64 = 6;

/// The node that is killed and comes back, and the one that leaves.
const VICTIM: &str = "node-4";
const LEAVER: &str = "node-3";

/// The steps of the story.
#[derive(Clone, Copy)]
enum Act {
    Meet,
    Schema,
    Listen,
    Kill,
    Restart,
    Leave,
}

impl Act {
    const ALL: [Self; 6] = [
        Self::Meet,
        Self::Schema,
        Self::Listen,
        Self::Kill,
        Self::Restart,
        Self::Leave,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Meet => "meet",
            Self::Schema => "schema",
            Self::Listen => "listen",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Leave => "leave",
        }
    }

    fn asked(self, nodes: usize) -> String {
        match self {
            Self::Meet => format!("{nodes} nodes find each other through three seeds"),
            Self::Schema => format!("node-1 changes schema from {OLD} to {NEW}, all agree"),
            Self::Listen => format!("all hear {HEARTBEATS} heartbeats of their neighbours"),
            Self::Kill => format!("{VICTIM} is killed, all others agree that it is down"),
            Self::Restart => format!("{VICTIM} comes back with a new generation"),
            Self::Leave => format!("{LEAVER} leaves, nobody takes it for down"),
        }
    }

    /// The time limit in intervals; their sum is what the demo may take.
    fn limit(self) -> u32 {
        match self {
            Self::Schema | Self::Leave => 4,
            Self::Meet | Self::Restart => 6,
            Self::Listen | Self::Kill => 9,
        }
    }
}

/// What a node's listener tells.
enum News {
    Event(Event),
    /// It has heard of a newer schema and changed its own.
    Adopted,
}

/// What must not happen, or is shown, while a step's end is awaited.
#[derive(Clone, Copy)]
enum Watch {
    Nothing,
    Phi(NodeId),
    NeverDown(NodeId),
}

/// A running node.
struct Peer {
    name: String,
    id: NodeId,
    handle: Handle,
}

impl Peer {
    fn status_of(&self, id: NodeId) -> Option<Status> {
        self.handle
            .read(|node| node.member(id).map(|member| member.status()))
    }

    fn generation_of(&self, id: NodeId) -> Option<Generation> {
        self.handle
            .read(|node| node.member(id).map(|member| member.generation()))
    }

    /// Whether it counts on this many members, itself included.
    fn knows(&self, nodes: usize) -> bool {
        self.handle.read(|node| {
            let up = |status| matches!(status, Status::Up | Status::Suspect);
            node.members().filter(|m| up(m.status())).count() == nodes
        })
    }

    /// Whether it has heard enough heartbeats of all that it observes to tell late from lost.
    fn knows_the_rhythm(&self) -> bool {
        self.handle.read(|node| {
            let mut heard = node.members().filter_map(|member| member.heartbeat());
            heard.all(|count| count >= HEARTBEATS)
        })
    }

    /// Whether it has the new schema and sees that all others have it, too.
    fn sees_agreement(&self, key: &Key) -> bool {
        self.handle
            .read(|node| own(node, key) == Some(NEW.as_bytes()) && node.agreement(key).is_reached())
    }
}

/// The node's own value of an attribute.
fn own<'a>(node: &'a Node, key: &Key) -> Option<&'a [u8]> {
    node.member(node.id())?.attribute(key)
}

struct Demo {
    nodes: usize,
    interval: Duration,
    schema: Key,
    peers: Vec<Peer>,
    /// The generation that was killed.
    killed: Option<Generation>,
    story: Story,
    tell: Sender<(String, News)>,
    news: Receiver<(String, News)>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let (tell, news) = mpsc::channel();
    let mut demo = Demo {
        nodes: options.nodes,
        interval: options.interval,
        schema: Key::new(SCHEMA).map_err(|e| Failure::Usage(e.to_string()))?,
        peers: Vec::new(),
        killed: None,
        story: Story::new(
            Report::new(Format::of_flag(options.json)),
            options.nodes,
            options.interval,
        ),
        tell,
        news,
    };
    demo.play()?;
    match demo.story.finish()? {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

impl Demo {
    fn play(&mut self) -> Result<(), Failure> {
        let mut go_on = true;
        for act in Act::ALL {
            let asked = act.asked(self.nodes);
            // Below a certain interval the machine's own delays set the pace.
            let limit = self
                .interval
                .saturating_mul(act.limit())
                .max(Duration::from_secs(2));
            self.story.begin(act.name(), asked, limit)?;
            if go_on {
                let took = self.perform(act, limit)?;
                self.story.end(took)?;
                go_on = took.is_some();
            }
        }
        Ok(())
    }

    /// Does what the step asks and waits for its effect; how long that took, if in time.
    fn perform(&mut self, act: Act, limit: Duration) -> Result<Option<Duration>, Failure> {
        let begun = Instant::now();
        let (nodes, schema) = (self.nodes, self.schema.clone());
        match act {
            Act::Meet => {
                for number in 1..=nodes {
                    self.start(format!("node-{number}"))?;
                }
                self.wait(begun, limit, Watch::Nothing, |peer| peer.knows(nodes))
            }
            Act::Schema => {
                self.story
                    .tell(Tone::Strong, format!("node-1 sets {SCHEMA} = {NEW}"))?;
                if let Some(first) = self.peers.first() {
                    set(&first.handle, &schema, NEW)?;
                }
                self.wait(begun, limit, Watch::Nothing, |peer| {
                    peer.sees_agreement(&schema)
                })
            }
            Act::Listen => {
                let learning = "the nodes learn the rhythm of each other's heartbeats";
                self.story.tell(Tone::Plain, learning)?;
                self.wait(begun, limit, Watch::Nothing, Peer::knows_the_rhythm)
            }
            Act::Kill => {
                let victim = self.take(VICTIM)?;
                self.killed = Some(victim.handle.read(Node::generation));
                victim.handle.shutdown();
                let killed = format!("{VICTIM} is killed without a word");
                self.story.tell(Tone::Bad, killed)?;
                self.wait(begun, limit, Watch::Phi(victim.id), |peer| {
                    peer.status_of(victim.id) == Some(Status::Down)
                })
            }
            Act::Restart => {
                let old = self.killed;
                let id = self.start(VICTIM.to_owned())?;
                self.wait(begun, limit, Watch::Nothing, |peer| {
                    peer.status_of(id) == Some(Status::Up)
                        && peer.generation_of(id) > old
                        && peer.knows(nodes)
                        && peer.sees_agreement(&schema)
                })
            }
            Act::Leave => {
                let leaver = self.take(LEAVER)?;
                self.story
                    .tell(Tone::Strong, format!("{LEAVER} says goodbye"))?;
                leaver.handle.leave()?;
                self.wait(begun, limit, Watch::NeverDown(leaver.id), |peer| {
                    peer.status_of(leaver.id) == Some(Status::Left)
                })
            }
        }
    }

    /// Starts a node on a port that the system chooses.
    fn start(&mut self, name: String) -> Result<NodeId, Failure> {
        let mut config = Config::new(&name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        config.node.interval = self.interval;
        // A machine's hiccups do not shrink with the interval.
        let hiccup = HICCUP.as_secs_f64() / self.interval.as_secs_f64();
        config.node.acceptable_pause = config.node.acceptable_pause.max(hiccup);
        config.node.cluster = "gossip demo".to_owned();
        config.node.seeds = self
            .peers
            .iter()
            .take(3)
            .map(|peer| peer.handle.local_addr())
            .collect();
        let (handle, events) = spawn(config)?;
        set(&handle, &self.schema, OLD)?;
        let id = handle.read(Node::id);
        self.story.started(id, &name, handle.local_addr())?;
        listen(
            name.clone(),
            self.schema.clone(),
            handle.clone(),
            events,
            self.tell.clone(),
        );
        self.peers.push(Peer { name, id, handle });
        Ok(id)
    }

    /// Takes a node out of those whose views are awaited.
    fn take(&mut self, name: &str) -> Result<Peer, Failure> {
        let at = self.peers.iter().position(|peer| peer.name == name);
        at.map(|at| self.peers.remove(at))
            .ok_or_else(|| Failure::Runtime(format!("{name} is gone")))
    }

    /// Tells what happens until every node's view is as wanted; `None` when it takes too long.
    fn wait(
        &mut self,
        begun: Instant,
        limit: Duration,
        watch: Watch,
        wanted: impl Fn(&Peer) -> bool,
    ) -> Result<Option<Duration>, Failure> {
        loop {
            let took = begun.elapsed();
            let done = self.peers.iter().all(&wanted);
            if done || took > limit {
                // News of what was seen may still be on its way.
                while let Ok((observer, news)) = self.news.recv_timeout(TICK) {
                    self.hear(&observer, &news)?;
                }
                if let Watch::Phi(id) = watch {
                    self.story.last_levels(id, &self.levels(id))?;
                }
                return Ok(done.then_some(took));
            }
            if let Ok((observer, news)) = self.news.recv_timeout(TICK) {
                self.hear(&observer, &news)?;
                if let (Watch::NeverDown(watched), News::Event(Event::MemberDown { id, .. })) =
                    (watch, news)
                    && id == watched
                {
                    return Ok(None);
                }
            }
            if let Watch::Phi(id) = watch
                && self.story.wants_levels()
            {
                let levels = self.levels(id);
                self.story.levels(id, &levels)?;
            }
        }
    }

    fn hear(&mut self, observer: &str, news: &News) -> Result<(), Failure> {
        match news {
            News::Event(event) => self.story.event(observer, event)?,
            News::Adopted => self.story.adopted(observer, NEW)?,
        }
        Ok(())
    }

    /// How each node sees one of them.
    fn levels(&self, id: NodeId) -> Vec<Level> {
        let level = |peer: &Peer| {
            peer.handle.read(|node| Level {
                observer: peer.name.clone(),
                phi: node.phi(id),
                status: node.member(id).map(|member| member.status()),
                votes: node.votes(id).count(),
            })
        };
        self.peers.iter().map(level).collect()
    }
}

fn set(handle: &Handle, key: &Key, value: &str) -> Result<(), Failure> {
    let (key, value) = (
        key.clone(),
        Value::new(value).map_err(|e| Failure::Usage(e.to_string()))?,
    );
    Ok(handle.command(Command::Set { key, value })?)
}

/// Does what an application would: takes over a newer schema as soon as it hears of one. Ends with
/// its node.
fn listen(name: String, schema: Key, handle: Handle, events: Events, tell: Sender<(String, News)>) {
    thread::spawn(move || {
        for event in events {
            let newer = match &event {
                Event::AttributeChanged {
                    key,
                    value: Some(value),
                    ..
                } if *key == schema => handle
                    .read(|node| own(node, &schema).is_some_and(|mine| value.as_bytes() > mine)),
                _ => false,
            };
            // The story may have ended meanwhile; then nobody listens.
            let _ = tell.send((name.clone(), News::Event(event)));
            if newer && set(&handle, &schema, NEW).is_ok() {
                let _ = tell.send((name.clone(), News::Adopted));
            }
        }
    });
}
