//! `gossip agent`: one node, and what happens.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use gossip_mio::gossip_core::{Command, Encryption, Event, JoinCause, Key, Name, Node, Value};
use gossip_mio::{Config, Events, Handle, NoEvent, spawn};
#[cfg(unix)]
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::keys::KeyFile;
use crate::lines::{self, LINES};
use crate::report::{Format, Line, Names, Report, complain};
use crate::{Failure, parse, seeds};

/// Run one node and print what happens, until Ctrl-C.
///
/// The node finds its cluster through the seeds: give the addresses of three to five nodes that are
/// usually up. Without a seed it starts a cluster of its own, which others find through it. Ctrl-C
/// (or SIGTERM) tells the others that it leaves; another one, later than half a second, stops it at once.
#[derive(Args, Debug)]
#[command(after_long_help = format!("{LINES}\n\n{JSON}"))]
pub(crate) struct Options {
    /// The node's name, unique in its cluster: 1 to 63 bytes. The same name later is the same node
    #[arg(long, value_parser = Name::new)]
    name: Name,

    /// The local address to receive on; port 0 lets the system choose one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7946", value_parser = parse::address)]
    bind: SocketAddr,

    /// The address that others are told, where it is not the one bound (NAT, 0.0.0.0)
    #[arg(long, value_name = "IP:PORT", value_parser = parse::address)]
    advertise: Option<SocketAddr>,

    /// Where to find the cluster; repeat it for more. Names are looked up, again and again
    #[arg(long = "seed", value_name = "HOST:PORT")]
    seeds: Vec<String>,

    /// Something that this node says about itself; repeat it for more. Key up to 64 bytes, value
    /// up to 1024
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse::attribute)]
    attributes: Vec<(Key, Value)>,

    /// Do what each line of standard input says: TOPIC=TEXT is broadcast (the others print it once; it
    /// is kept a minute for those who join later), put KEY=VALUE writes to the shared map, …: see below
    #[arg(long)]
    stdin: bool,

    /// A key: print when all live members show the same value of it, and when they cease to; repeat
    /// it for more
    #[arg(long = "watch", value_name = "KEY", value_parser = Key::new)]
    watched: Vec<Key>,

    /// Print changes of those keys of the shared map only that begin with this; repeat it for more
    #[arg(long = "watch-map", value_name = "PREFIX", value_parser = Key::new)]
    prefixes: Vec<Key>,

    /// The datacenter that this node is in: gossip stays inside it, with thin traffic between
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    datacenter: Option<Name>,

    /// This node is a bridge of its datacenter: where some nodes say so, only these talk to other datacenters
    #[arg(long)]
    bridge: bool,

    /// The cluster's name: nodes of other clusters are ignored
    #[arg(long, value_name = "NAME", default_value = "")]
    cluster: String,

    /// Encrypt, with the keys in this file: one a line, 64 hexadecimal digits, the first is used. The
    /// file is looked at again while the agent runs
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// How strictly: accept (send plaintext), prefer (accept plaintext) or require
    #[arg(long, value_name = "LEVEL", default_value = "require", value_parser = parse::encryption, requires = "key_file")]
    encryption: Encryption,

    /// Time between two rounds, such as 500ms or 1s. Recommended is 1s to 3s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse::duration)]
    interval: Duration,

    /// Nodes to talk to in each round, 1 to 16. Recommended is 3 (small clusters) to 5 (large ones)
    #[arg(long, value_name = "N", default_value = "3", value_parser = parse::count)]
    fanout: u8,

    /// Print one JSON object on each line
    #[arg(long)]
    json: bool,
}

const JSON: &str = "\
JSON lines: each object has t (seconds since the start) and event. These are about a member and have
its id and name, too:
  started              address
  member_up            address, generation, cause: joined, recovered (was down) or restarted, phi, votes
  member_suspected     phi, votes, reason: phi or longest_silence
  suspicion_cleared
  member_down          generation, phi (null where not observed), votes, reason: votes or silence
  member_left          generation
  member_removed
  attribute_changed    key, value (null when deleted; value_escaped where it is not printable text)
  broadcast            topic, payload (payload_escaped where it is not printable text), incarnation_start,
                       number
  map_changed          key, old, new (null where nothing is read; old_escaped, new_escaped), stamp:
                       somebody wrote a key of the shared map
  map_dropped          key, value, stamp: it is lost, since others forgot its writer
  value                key, value, stamp, siblings: how many there are; for each get on --stdin. Where
                       there is none, it is about nobody
  clock_skew           ahead_s
These are about this node:
  joined               members: how many others it knows; cause: learned (it knows all), incomplete (it
                       asks for more), no_seeds (the first of a cluster) or no_answer (it goes on asking)
  seed_silent          seed, reason (null where it is not known): after no_answer
  datagrams_refused    reason: others are of another cluster, or have other keys; the first time
  isolated, rejoined, lagged, leave_completed
  agreement_reached    key, value (null where nobody has it); for each --watch
  agreement_lost       key
  map_conflict         key, standing, lost: lists of stamp, value and writer
  identity_conflict    address
  name_contested       address
  encryption_mismatch  address
  seed_unresolved      seed, reason";

/// How often to look for seeds that cannot be looked up, and at the key file.
const FAULTS: Duration = Duration::from_secs(1);

/// Signals that come so soon after one another are one.
const AT_ONCE: Duration = Duration::from_millis(500);

pub(crate) fn run(options: Options) -> Result<ExitCode, Failure> {
    let mut config = Config::new(options.name.as_str(), options.bind);
    config.advertise = options.advertise;
    config.seeds = options.seeds;
    config.node.cluster = options.cluster;
    config.node.datacenter = options.datacenter;
    config.node.bridge = options.bridge;
    config.node.interval = options.interval;
    config.node.fanout = options.fanout;
    config.node.encryption = options.encryption;
    let key_file = options.key_file.as_deref().map(KeyFile::read);
    let key_file = key_file.transpose().map_err(Failure::Usage)?;
    if let Some(file) = &key_file {
        config.node.keys = file.keys().to_vec();
    }
    let warnings = config.warnings();

    let (handle, events) = spawn(config)?;
    for warning in warnings {
        complain("warning", &warning.to_string());
    }
    let mut agent = Agent {
        name: options.name.to_string(),
        handle: handle.clone(),
        names: Names::default(),
        refused: None,
        report: Arc::new(Mutex::new(Report::new(Format::of_flag(options.json)))),
    };
    let attributes = options.attributes.into_iter();
    let sets = attributes.map(|(key, value)| Command::Set { key, value });
    let watches = options
        .watched
        .into_iter()
        .map(|key| Command::Watch { key });
    let watches_map = (!options.prefixes.is_empty()).then_some(Command::WatchMap {
        prefixes: options.prefixes,
    });
    for command in sets.chain(watches).chain(watches_map) {
        handle.command(command)?;
    }
    leave_on_signal(handle.clone())?;
    if let Some(file) = key_file {
        agent.watch_keys(file)?;
    }
    if options.stdin {
        agent.obey_lines()?;
    }
    let told = agent.run(events);
    // Whatever went wrong, the others are told.
    let _ = handle.leave();
    handle
        .join()
        .map_err(|e| Failure::Runtime(format!("the socket was lost: {e}; start the node again")))?;
    told
}

struct Agent {
    name: String,
    handle: Handle,
    names: Names,
    /// What the refused datagrams were told to be.
    refused: Option<&'static str>,
    report: Arc<Mutex<Report>>,
}

impl Agent {
    /// Does what standard input says, on a thread of its own.
    fn obey_lines(&self) -> Result<(), Failure> {
        let (name, handle) = (self.name.clone(), self.handle.clone());
        let report = Arc::clone(&self.report);
        begin("stdin", move || lines::obey(&handle, &name, &report))
    }

    /// Looks at the key file again and again, on a thread of its own: whoever reads the output slowly must not
    /// keep this node from changing its keys with the others.
    fn watch_keys(&self, mut file: KeyFile) -> Result<(), Failure> {
        let handle = self.handle.clone();
        begin("keys", move || {
            loop {
                thread::sleep(FAULTS);
                if let Some(complaint) = file.refresh(&handle) {
                    complain("warning", &complaint);
                }
            }
        })
    }

    /// Prints what happens until the node has stopped.
    fn run(&mut self, mut events: Events) -> Result<ExitCode, Failure> {
        let id = self.handle.read(Node::id);
        self.names.remember(id, &self.name);
        self.print(&Line::started(id, &self.name, self.handle.local_addr()))?;
        let mut unresolved = Vec::new();
        let mut conflict = None;
        let mut looked = Instant::now();
        loop {
            match events.next_timeout(FAULTS) {
                Ok(event) => {
                    self.tell(&event)?;
                    if let Event::IdentityConflict { address } = event {
                        conflict = Some(address);
                    }
                }
                Err(NoEvent::Yet) => {}
                Err(NoEvent::Ended) => break,
            }
            // However much happens.
            if looked.elapsed() >= FAULTS {
                looked = Instant::now();
                self.look_around(&mut unresolved)?;
            }
        }
        match conflict {
            Some(address) => Err(Failure::Runtime(format!(
                "a live node at {address} has this name already: choose another with --name"
            ))),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// Looks at names of seeds that stand for nothing.
    fn look_around(&mut self, unresolved: &mut Vec<(String, String)>) -> io::Result<()> {
        let now = self.handle.faults().unresolved;
        for (seed, reason) in now.iter().filter(|one| !unresolved.contains(*one)) {
            self.print(&Line::unresolved(seed, reason))?;
        }
        *unresolved = now;
        // Who hears nobody of its own cluster is told once what it hears instead, and so are those whom others
        // take for their seeds.
        let refused = self.handle.read(|node| seeds::refused(&node.metrics()));
        if refused != self.refused {
            self.refused = refused;
            refused.map_or(Ok(()), |reason| self.print(&Line::refused(reason)))?;
        }
        Ok(())
    }

    fn tell(&mut self, event: &Event) -> io::Result<()> {
        if let Event::MemberUp { id, name, .. } | Event::MemberRemoved { id, name } = event {
            self.names.remember(*id, name.as_str());
        }
        let is_alone = matches!(
            event,
            Event::Joined {
                cause: JoinCause::NoAnswer,
                ..
            }
        );
        // An event may have been lost to lag; the node still knows the name.
        if !self.names.know(event) || self.names.are_too_many() {
            self.handle.read(|node| self.names.learn(node));
        }
        self.print(&Line::of(event, &self.names))?;
        if is_alone {
            let local = self.handle.local_addr();
            for silent in self.handle.read(|node| seeds::silent(node, local)) {
                self.print(&Line::silent(&silent))?;
            }
        }
        Ok(())
    }

    fn print(&mut self, line: &Line) -> io::Result<()> {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.line(&self.name, line)
    }
}

/// Begins a thread that ends with the process.
fn begin(name: &str, does: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let begun = thread::Builder::new().name(name.to_owned()).spawn(does);
    begun
        .map(drop)
        .map_err(|e| Failure::Runtime(format!("cannot start a thread: {e}")))
}

/// The first signal announces departure, another ends the process. A hangup is not asked for: it ends
/// an agent whose terminal is closed, and not one that `nohup` keeps.
fn leave_on_signal(handle: Handle) -> Result<(), Failure> {
    let mut asked = None;
    let leave = move || match asked {
        None => {
            asked = Some(Instant::now());
            // Refused by a node that is leaving already.
            let _ = handle.leave();
            end_with(handle.clone());
        }
        // Who signals a process and its group, as `timeout` does, asks once.
        Some(first) if first.elapsed() < AT_ONCE => {}
        Some(_) => process::exit(130),
    };
    on_signal(leave).map_err(|e| Failure::Runtime(format!("cannot listen for Ctrl-C: {e}")))
}

/// Ends the process soon after its node, though nobody reads what it prints.
fn end_with(handle: Handle) {
    let waits = move || {
        let _ = handle.join();
        thread::sleep(FAULTS);
        process::exit(0);
    };
    // Without it, the process ends when its output is read.
    let _ = thread::Builder::new().name("end".to_owned()).spawn(waits);
}

#[cfg(unix)]
fn on_signal(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let thread = thread::Builder::new().name("signals".to_owned());
    let spawned = thread.spawn(move || signals.forever().for_each(|_| act()));
    spawned.map(drop)
}

#[cfg(not(unix))]
fn on_signal(act: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(act)
}
