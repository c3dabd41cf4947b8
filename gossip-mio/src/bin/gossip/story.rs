//! How the demo is told: a time line of sentences, a table of phi, and a summary; or JSON lines.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gossip_mio::gossip_core::{Event, NodeId, Status, UpCause};
use serde_json::{Map, Value, json};

use crate::report::{Format, Line, Names, Report, Tone, rounded};

/// In a large cluster, the first nodes speak for all.
const SPEAKERS: usize = 8;

/// How one node sees another.
pub(crate) struct Level {
    pub(crate) observer: String,
    pub(crate) phi: Option<f64>,
    pub(crate) status: Option<Status>,
    pub(crate) votes: usize,
}

/// What became of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Took(Duration),
    Failed,
    NotRun,
}

impl Outcome {
    /// Its name in JSON, the same for people, and its colour.
    fn words(self) -> (&'static str, &'static str, Tone) {
        match self {
            Self::Took(_) => ("ok", "ok", Tone::Good),
            Self::Failed => ("failed", "failed", Tone::Bad),
            Self::NotRun => ("not_run", "not run", Tone::Doubt),
        }
    }
}

struct Step {
    name: &'static str,
    asked: String,
    limit: Duration,
    outcome: Outcome,
}

pub(crate) struct Story {
    report: Report,
    nodes: usize,
    names: Names,
    /// How many others each node has seen come up.
    met: HashMap<String, usize>,
    steps: Vec<Step>,
    /// When the next table of phi is due, and the time between two.
    next_levels: Instant,
    pace: Duration,
}

impl Story {
    pub(crate) fn new(report: Report, nodes: usize, interval: Duration) -> Self {
        let pace = match report.is_live() {
            true => Duration::from_millis(100),
            false => interval / 2,
        };
        Self {
            report,
            nodes,
            names: Names::default(),
            met: HashMap::new(),
            steps: Vec::new(),
            next_levels: Instant::now(),
            pace,
        }
    }

    fn is_text(&self) -> bool {
        self.report.format() == Format::Text
    }

    pub(crate) fn tell(&mut self, tone: Tone, sentence: impl AsRef<str>) -> io::Result<()> {
        match self.report.format() {
            Format::Text => self.report.tell(tone, sentence.as_ref()),
            Format::Json => Ok(()),
        }
    }

    /// A step begins, or would.
    pub(crate) fn begin(
        &mut self,
        name: &'static str,
        asked: String,
        limit: Duration,
    ) -> io::Result<()> {
        self.steps.push(Step {
            name,
            asked,
            limit,
            outcome: Outcome::NotRun,
        });
        self.next_levels = Instant::now();
        Ok(())
    }

    /// The step begun last has ended, in time or not.
    pub(crate) fn end(&mut self, took: Option<Duration>) -> io::Result<()> {
        let Some(step) = self.steps.last_mut() else {
            return Ok(());
        };
        step.outcome = took.map_or(Outcome::Failed, Outcome::Took);
        let sentence = match took {
            Some(took) => format!("=> {}: {:.3} s", step.asked, took.as_secs_f64()),
            None => format!(
                "=> not so within {} s: {}",
                step.limit.as_secs_f64(),
                step.asked
            ),
        };
        let (_, _, tone) = step.outcome.words();
        self.tell(tone, sentence)
    }

    pub(crate) fn started(
        &mut self,
        id: NodeId,
        name: &str,
        address: SocketAddr,
    ) -> io::Result<()> {
        self.names.remember(id, name);
        match self.report.format() {
            Format::Json => self.report.observed(name, Line::started(id, name, address)),
            Format::Text => self
                .report
                .tell(Tone::Strong, format_args!("{name} starts at {address}")),
        }
    }

    pub(crate) fn adopted(&mut self, observer: &str, value: &str) -> io::Result<()> {
        match self.speaks(observer) {
            true => self.tell(
                Tone::Plain,
                format!("{observer} hears of {value} and takes it over"),
            ),
            false => Ok(()),
        }
    }

    pub(crate) fn event(&mut self, observer: &str, event: &Event) -> io::Result<()> {
        if !self.is_text() {
            return self.report.observed(observer, Line::of(event, &self.names));
        }
        match self.sentence(observer, event) {
            Some((tone, sentence)) if self.speaks(observer) => self.tell(tone, sentence),
            _ => Ok(()),
        }
    }

    /// Whether this node is one of the first.
    fn speaks(&self, observer: &str) -> bool {
        let number = observer.rsplit('-').next().and_then(|n| n.parse().ok());
        number.is_none_or(|n: usize| n <= SPEAKERS)
    }

    /// What is worth telling of an event.
    fn sentence(&mut self, observer: &str, event: &Event) -> Option<(Tone, String)> {
        Some(match event {
            Event::MemberUp {
                cause: UpCause::Joined,
                ..
            } => {
                let met = self.met.entry(observer.to_owned()).or_default();
                *met += 1;
                if *met + 1 != self.nodes {
                    return None;
                }
                (Tone::Good, format!("{observer} knows all {}", self.nodes))
            }
            Event::MemberUp {
                name,
                address,
                cause: UpCause::Restarted,
                ..
            } => (
                Tone::Good,
                format!("{observer} finds {name} restarted, at {address}"),
            ),
            Event::MemberUp { name, .. } => (Tone::Good, format!("{observer} hears {name} again")),
            Event::MemberSuspected { id, phi, .. } => (
                Tone::Doubt,
                format!("{observer} suspects {} (phi {phi:.1})", self.names.of(*id)),
            ),
            Event::SuspicionCleared { id } => (
                Tone::Good,
                format!("{observer} hears {} after all", self.names.of(*id)),
            ),
            Event::MemberDown { id, votes, .. } => (
                Tone::Bad,
                format!(
                    "{observer} holds {} DOWN ({votes} votes)",
                    self.names.of(*id)
                ),
            ),
            Event::MemberLeft { id, .. } => (
                Tone::Plain,
                format!("{observer} notes that {} has LEFT", self.names.of(*id)),
            ),
            Event::Isolated => (Tone::Bad, format!("{observer} finds itself alone")),
            Event::IdentityConflict { address } => (
                Tone::Bad,
                format!("{observer} gives up: {address} has its name"),
            ),
            _ => return None,
        })
    }

    /// Whether it is time for another table of phi.
    pub(crate) fn wants_levels(&self) -> bool {
        Instant::now() >= self.next_levels
    }

    pub(crate) fn levels(&mut self, id: NodeId, levels: &[Level]) -> io::Result<()> {
        self.next_levels = Instant::now() + self.pace;
        let name = self.names.of(id);
        let shown = levels.iter().take(SPEAKERS);
        if !self.is_text() {
            for level in levels {
                let mut fields = Map::new();
                fields.insert("observer".into(), json!(level.observer));
                fields.insert("name".into(), json!(name));
                fields.insert("phi".into(), json!(level.phi.map(rounded)));
                fields.insert("status".into(), json!(status(level.status)));
                fields.insert("votes".into(), json!(level.votes));
                self.report.json("phi", fields)?;
            }
            Ok(())
        } else if self.report.is_live() {
            let head = format!("           observer   phi of {name}                votes  status");
            let mut rows = vec![Tone::Strong.paint(head)];
            rows.extend(shown.map(row));
            self.report.draw(&rows)
        } else {
            let shown: Vec<_> = shown
                .map(|level| format!("{} {}", level.observer, phi(level.phi).trim_start()))
                .collect();
            let sentence = format!("phi of {name}: {}", shown.join(", "));
            self.report.tell(Tone::Plain, sentence)
        }
    }

    /// The table as it is at the end, which stays.
    pub(crate) fn last_levels(&mut self, id: NodeId, levels: &[Level]) -> io::Result<()> {
        self.levels(id, levels)?;
        self.report.settle();
        Ok(())
    }

    /// Prints the summary; whether all went well.
    pub(crate) fn finish(mut self) -> io::Result<bool> {
        let ok = self
            .steps
            .iter()
            .all(|step| matches!(step.outcome, Outcome::Took(_)));
        if !self.is_text() {
            for step in &self.steps {
                self.report.json(
                    "step",
                    Map::from_iter([
                        ("step".to_owned(), json!(step.name)),
                        ("asked".to_owned(), json!(step.asked)),
                        (
                            "limit_s".to_owned(),
                            json!(rounded(step.limit.as_secs_f64())),
                        ),
                        ("took_s".to_owned(), took(step.outcome)),
                        ("result".to_owned(), json!(step.outcome.words().0)),
                    ]),
                )?;
            }
            let fields = Map::from_iter([("ok".to_owned(), json!(ok))]);
            self.report.json("summary", fields)?;
            return Ok(ok);
        }
        let width = self.steps.iter().map(|step| step.asked.len()).max();
        let width = width.unwrap_or_default();
        let head = format!(
            "{:<8}  {:<width$}  {:>7}  {:>8}  result",
            "step", "asked", "limit", "took"
        );
        self.report.text("")?;
        self.report.text(&Tone::Strong.paint(head))?;
        for step in &self.steps {
            let took = match step.outcome {
                Outcome::Took(took) => format!("{:.3} s", took.as_secs_f64()),
                Outcome::Failed | Outcome::NotRun => "-".to_owned(),
            };
            let (_, result, tone) = step.outcome.words();
            let line = format!(
                "{:<8}  {:<width$}  {:>5.1} s  {took:>8}  {}",
                step.name,
                step.asked,
                step.limit.as_secs_f64(),
                tone.paint(result)
            );
            self.report.text(&line)?;
        }
        Ok(ok)
    }
}

fn took(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Took(took) => json!(rounded(took.as_secs_f64())),
        Outcome::Failed | Outcome::NotRun => Value::Null,
    }
}

fn phi(phi: Option<f64>) -> String {
    phi.map_or_else(|| format!("{:>6}", "-"), |phi| format!("{phi:>6.1}"))
}

fn status(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Joining) => "joining",
        Some(Status::Up) => "up",
        Some(Status::Suspect) => "suspect",
        Some(Status::Leaving) => "leaving",
        Some(Status::Left) => "left",
        Some(Status::Down) => "down",
        None => "unknown",
    }
}

/// One observer's row: phi as a number and as a bar.
fn row(level: &Level) -> String {
    let reached = |at: &u8| level.phi.is_some_and(|phi| phi >= f64::from(*at));
    let bar: String = (1..=16)
        .map(|at| if reached(&at) { '█' } else { '·' })
        .collect();
    let tone = match level.status {
        Some(Status::Up) => Tone::Good,
        Some(Status::Down) => Tone::Bad,
        _ => Tone::Doubt,
    };
    format!(
        "           {:<9} {} {bar}  {:>5}  {}",
        level.observer,
        phi(level.phi),
        level.votes,
        tone.paint(status(level.status))
    )
}
