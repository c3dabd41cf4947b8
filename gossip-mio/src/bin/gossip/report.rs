//! What is printed, and how: aligned columns in colour, or one JSON object on each line.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use gossip_mio::gossip_core::{
    ClockDeviation, DownReason, Event, JoinCause, Node, NodeId, SuspicionReason, UpCause, Value,
};
use serde_json::{Map, json};

use crate::seeds::Silent;

/// What the lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

impl Format {
    pub(crate) fn of_flag(json: bool) -> Self {
        match json {
            true => Self::Json,
            false => Self::Text,
        }
    }
}

/// How a line is meant, shown as its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Good,
    Doubt,
    Bad,
}

impl Tone {
    pub(crate) fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Good => colour(AnsiColor::Green),
            Self::Doubt => colour(AnsiColor::Yellow),
            Self::Bad => colour(AnsiColor::Red),
        }
    }

    pub(crate) fn paint(self, text: impl Display) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

/// Prints one sentence to standard error.
pub(crate) fn complain(kind: &str, sentence: &str) {
    let tone = match kind {
        "error" => Tone::Bad,
        _ => Tone::Doubt,
    };
    // Where standard error is closed, nobody is there to be told.
    let _ = writeln!(anstream::stderr(), "{}: {sentence}", tone.paint(kind));
}

/// Names of removed members that are kept, at least: there may be news of what they wrote.
const FORMER: usize = 1024;

/// The names of members, and of those removed last.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashMap<NodeId, String>,
    /// How many there may be before those of removed members are forgotten.
    room: usize,
}

impl Names {
    pub(crate) fn remember(&mut self, id: NodeId, name: &str) {
        self.known.insert(id, name.to_owned());
    }

    /// Learns the names of all that the node knows. If there were too many, it forgets all others.
    pub(crate) fn learn(&mut self, node: &Node) {
        if self.are_too_many() {
            self.known.clear();
        }
        for member in node.members() {
            self.remember(member.id(), member.name().as_str());
        }
        self.room = self.known.len().saturating_mul(2).saturating_add(FORMER);
    }

    /// Whether it is time to [learn](Self::learn) them anew.
    pub(crate) fn are_too_many(&self) -> bool {
        self.known.len() > self.room.max(FORMER)
    }

    /// Whether the name of everybody in this event is known.
    pub(crate) fn know(&self, event: &Event) -> bool {
        let known = |id: NodeId| self.known.contains_key(&id);
        if let Event::Conflict { standing, lost, .. } = event {
            return standing.iter().chain(lost).all(|v| known(v.writer));
        }
        subject(event).is_none_or(known)
    }

    /// The name, or the id of one never heard of.
    pub(crate) fn of(&self, id: NodeId) -> String {
        self.known
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }
}

/// An event in words: for people, and for programs.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its name in JSON. Stable.
    pub(crate) event: &'static str,
    /// Its name for people.
    label: &'static str,
    tone: Tone,
    subject: Option<String>,
    details: String,
    fields: Map<String, serde_json::Value>,
}

impl Line {
    pub(crate) fn new(event: &'static str, label: &'static str, tone: Tone) -> Self {
        Self {
            event,
            label,
            tone,
            subject: None,
            details: String::new(),
            fields: Map::new(),
        }
    }

    pub(crate) fn about(mut self, id: NodeId, name: String) -> Self {
        self = self.with("id", id.to_string()).with("name", name.as_str());
        self.subject = Some(name);
        self
    }

    pub(crate) fn saying(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// A value, or null where there is none. Its name tells whether it is escaped.
    pub(crate) fn with_value(self, field: &str, value: Option<&Value>) -> Self {
        match value.map(readable) {
            Some((Text::Plain, text)) => self.with(field, text),
            Some((Text::Escaped, text)) => self.with(&format!("{field}_escaped"), text),
            None => self.with(field, serde_json::Value::Null),
        }
    }

    /// What programs read of it.
    pub(crate) fn into_fields(self) -> Map<String, serde_json::Value> {
        self.fields
    }

    /// The node's own start.
    pub(crate) fn started(id: NodeId, name: &str, address: impl Display) -> Self {
        Self::new("started", "started", Tone::Strong)
            .about(id, name.to_owned())
            .with("address", address.to_string())
            .saying(address.to_string())
    }

    /// A seed that cannot be looked up, or can again.
    pub(crate) fn unresolved(seed: &str, reason: &str) -> Self {
        Self::new("seed_unresolved", "no seed", Tone::Doubt)
            .with("seed", seed)
            .with("reason", reason)
            .saying(format!("{seed}: {reason}; it is tried again"))
    }

    /// A seed that does not answer, with the reason where it is known.
    pub(crate) fn silent(silent: &Silent) -> Self {
        let seed = silent.seed.to_string();
        let line = Self::new("seed_silent", "no seed", Tone::Doubt)
            .with("seed", seed.as_str())
            .with("reason", silent.reason);
        line.saying(match silent.reason {
            Some(reason) => format!("{seed} does not answer: {reason}"),
            None => format!("{seed} does not answer; it is asked again"),
        })
    }

    /// Datagrams of others are refused.
    pub(crate) fn refused(reason: &str) -> Self {
        Self::new("datagrams_refused", "refused", Tone::Doubt)
            .with("reason", reason)
            .saying(reason)
    }

    /// An event of the node.
    pub(crate) fn of(event: &Event, names: &Names) -> Self {
        let line = |name, label, tone| match subject(event) {
            Some(id) => Self::new(name, label, tone).about(id, names.of(id)),
            None => Self::new(name, label, tone),
        };
        match event {
            Event::Joined { members, cause } => {
                let others = match members {
                    1 => "1 other member".to_owned(),
                    more => format!("{more} other members"),
                };
                let (cause, says) = match cause {
                    JoinCause::Learned => ("learned", others),
                    JoinCause::Incomplete => {
                        ("incomplete", format!("{others} so far; it asks for more"))
                    }
                    JoinCause::NoSeeds => ("no_seeds", "the first of the cluster".to_owned()),
                    JoinCause::NoAnswer => {
                        ("no_answer", "no seed answers; still asking".to_owned())
                    }
                };
                line("joined", "joined", Tone::Strong)
                    .with("members", *members)
                    .with("cause", cause)
                    .saying(says)
            }
            Event::MemberUp {
                address,
                generation,
                cause,
                phi,
                votes,
                ..
            } => {
                let cause = match cause {
                    UpCause::Joined => "joined",
                    UpCause::Recovered => "recovered",
                    UpCause::Restarted => "restarted",
                };
                line("member_up", "up", Tone::Good)
                    .with("address", address.to_string())
                    .with("generation", generation.to_string())
                    .with("cause", cause)
                    .with("phi", phi.map(rounded))
                    .with("votes", *votes)
                    .saying(format!("{address}  {cause}"))
            }
            Event::MemberSuspected {
                phi, votes, reason, ..
            } => {
                let (reason, why) = match reason {
                    SuspicionReason::Phi => ("phi", "improbable"),
                    SuspicionReason::LongestSilence => {
                        ("longest_silence", "as long as any silence is granted")
                    }
                };
                line("member_suspected", "suspected", Tone::Doubt)
                    .with("phi", rounded(*phi))
                    .with("votes", *votes)
                    .with("reason", reason)
                    .saying(format!("phi {phi:.1}, {why}; it is being asked"))
            }
            Event::SuspicionCleared { .. } => {
                line("suspicion_cleared", "cleared", Tone::Good).saying("no longer suspected")
            }
            Event::MemberDown {
                generation,
                phi,
                votes,
                reason,
                ..
            } => {
                let (reason, why) = match reason {
                    DownReason::Votes => ("votes", "by its observers"),
                    DownReason::Silence => (
                        "silence",
                        "it does not answer, nor does anybody who could speak for it",
                    ),
                };
                let phi_text = phi.map_or_else(String::new, |phi| format!("phi {phi:.1}, "));
                line("member_down", "down", Tone::Bad)
                    .with("generation", generation.to_string())
                    .with("phi", phi.map(rounded))
                    .with("votes", *votes)
                    .with("reason", reason)
                    .saying(format!("{phi_text}{votes} votes: {why}"))
            }
            Event::MemberLeft { generation, .. } => line("member_left", "left", Tone::Plain)
                .with("generation", generation.to_string())
                .saying("by its own announcement"),
            Event::MemberRemoved { .. } => line("member_removed", "removed", Tone::Plain),
            Event::AttributeChanged { key, value, .. } => {
                let says = match value {
                    Some(value) => format!("{key} = {}", readable(value).1),
                    None => format!("{key} deleted"),
                };
                line("attribute_changed", "attribute", Tone::Plain)
                    .with("key", key.as_str())
                    .with_value("value", value.as_ref())
                    .saying(says)
            }
            Event::Broadcast {
                incarnation_start,
                number,
                name,
                payload,
                ..
            } => line("broadcast", "broadcast", Tone::Strong)
                .with("incarnation_start", incarnation_start.to_string())
                .with("number", *number)
                .with("topic", name.as_str())
                .with_value("payload", Some(payload))
                .saying(format!("{name}: {}", readable(payload).1)),
            Event::AgreementReached { key, value } => {
                let says = match value {
                    Some(value) => format!("all show {key} = {}", readable(value).1),
                    None => format!("nobody has {key}"),
                };
                line("agreement_reached", "agreed", Tone::Good)
                    .with("key", key.as_str())
                    .with_value("value", value.as_ref())
                    .saying(says)
            }
            Event::AgreementLost { key } => line("agreement_lost", "apart", Tone::Doubt)
                .with("key", key.as_str())
                .saying(format!("not all show the same {key}")),
            Event::MapChanged {
                key,
                old,
                new,
                stamp,
                ..
            } => line("map_changed", "map", Tone::Plain).changing(
                key,
                old.as_ref(),
                new.as_ref(),
                *stamp,
            ),
            Event::Conflict {
                key,
                standing,
                lost,
            } => {
                line("map_conflict", "conflict", Tone::Doubt).colliding(key, standing, lost, names)
            }
            Event::MapDropped { key, dropped } => {
                line("map_dropped", "dropped", Tone::Bad).dropping(key, dropped)
            }
            Event::Isolated => line("isolated", "isolated", Tone::Bad)
                .saying("all other members are down: most likely this node is cut off"),
            Event::Rejoined => {
                line("rejoined", "rejoined", Tone::Good).saying("other members are heard again")
            }
            Event::IdentityConflict { address } => line("identity_conflict", "conflict", Tone::Bad)
                .with("address", address.to_string())
                .saying(format!(
                    "{address} holds this node's name: this node gives up"
                )),
            Event::NameContested { address } => line("name_contested", "contested", Tone::Doubt)
                .with("address", address.to_string())
                .saying(format!(
                    "{address} claimed this node's name, which it keeps: it is the older"
                )),
            Event::EncryptionMismatch { address } => {
                line("encryption_mismatch", "keys differ", Tone::Doubt)
                    .with("address", address.to_string())
                    .saying(format!(
                        "{address} sends what no key of this node opens: compare the key files"
                    ))
            }
            Event::ClockSkew { ahead, address, .. } => {
                let line = line("clock_skew", "clock skew", Tone::Doubt)
                    .with("ahead_s", rounded(ahead.as_secs_f64()));
                let at = address.map_or_else(String::new, |address| format!(" at {address}"));
                let line = match address {
                    Some(address) => line.with("address", address.to_string()),
                    None => line,
                };
                line.saying(format!(
                    "its clock{at} is, or was, {:.0} s ahead of this one: set one of the two right",
                    ahead.as_secs_f64()
                ))
            }
            Event::OwnClockDeviates { by } => {
                let (sense, by) = match by {
                    ClockDeviation::Ahead(by) => ("ahead of", by),
                    ClockDeviation::Behind(by) => ("behind", by),
                };
                let signed = if sense == "behind" { -1.0 } else { 1.0 };
                line("own_clock_deviates", "own clock", Tone::Bad)
                    .with("ahead_s", rounded(signed * by.as_secs_f64()))
                    .saying(format!(
                        "this machine's clock is {:.0} s {sense} the others': set it right; \
                         beyond the allowed skew they refuse this node, or it refuses them",
                        by.as_secs_f64()
                    ))
            }
            Event::SettingsDiffer { theirs, ours, .. } => {
                line("settings_differ", "settings", Tone::Doubt)
                    .with("theirs", theirs.to_string())
                    .with("ours", ours.to_string())
                    .saying(
                        "it is configured otherwise than this node: interval, neighbours, sizes \
                         and the like must be the same on all nodes",
                    )
            }
            Event::OwnClockAgrees => line("own_clock_agrees", "own clock", Tone::Good)
                .saying("this machine's clock agrees with the others' again"),
            Event::TableFull { id, name } => Self::new("table_full", "table full", Tone::Doubt)
                .about(*id, name.to_string())
                .saying("finds no place at this node: raise max_members on every node"),
            Event::Refused { address, .. } => line("refused", "refused", Tone::Bad)
                .with("address", address.to_string())
                .saying("has no place for this node: raise max_members on every node"),
            Event::PathNarrowed { address, longest } => line(
                "path_narrowed",
                "narrow path",
                Tone::Doubt,
            )
            .with("address", address.to_string())
            .with("longest", longest.to_string())
            .saying(format!(
                "datagrams longer than {longest} bytes do not reach {address}: a tunnel or a \
                         firewall drops them; attributes that need more do not get there directly"
            )),
            Event::PathWidened { address } => line("path_widened", "wide path", Tone::Good)
                .with("address", address.to_string())
                .saying(format!("datagrams of all lengths reach {address} again")),
            Event::LeaveCompleted => line("leave_completed", "goodbye", Tone::Strong)
                .saying("the others know that this node has left"),
            Event::Lagged => line("lagged", "lagged", Tone::Doubt)
                .saying("some events were lost: this output was read too slowly"),
            other => line("unknown", "unknown", Tone::Plain).saying(format!("{other:?}")),
        }
    }
}

/// The member that an event is about.
fn subject(event: &Event) -> Option<NodeId> {
    match event {
        Event::MemberUp { id, .. }
        | Event::MemberSuspected { id, .. }
        | Event::SuspicionCleared { id }
        | Event::MemberDown { id, .. }
        | Event::MemberLeft { id, .. }
        | Event::MemberRemoved { id, .. }
        | Event::AttributeChanged { id, .. }
        | Event::Broadcast { from: id, .. }
        | Event::MapChanged { writer: id, .. }
        | Event::SettingsDiffer { id, .. }
        | Event::ClockSkew { id, .. }
        | Event::TableFull { id, .. }
        | Event::Refused { id, .. } => Some(*id),
        Event::MapDropped { dropped, .. } => Some(dropped.writer),
        _ => None,
    }
}

/// How a value is shown.
pub(crate) enum Text {
    Plain,
    /// It is no printable text.
    Escaped,
}

/// A value as text, and how to read it.
pub(crate) fn readable(value: &Value) -> (Text, String) {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) if !text.chars().any(char::is_control) => (Text::Plain, text.to_owned()),
        _ => (Text::Escaped, value.as_bytes().escape_ascii().to_string()),
    }
}

/// A number with no more digits than it is worth.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Standard output, with the time since the start.
pub(crate) struct Report {
    out: AutoStream<io::Stdout>,
    format: Format,
    start: Instant,
    /// Lines of the table on the screen, which the next one replaces.
    drawn: usize,
}

impl Report {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            out: anstream::stdout(),
            format,
            start: Instant::now(),
            drawn: 0,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether a table may be redrawn in place.
    pub(crate) fn is_live(&self) -> bool {
        let stdout = io::stdout();
        self.format == Format::Text
            && stdout.is_terminal()
            && AutoStream::choice(&stdout) != ColorChoice::Never
    }

    /// A line of the agent with this name, which is what a line without a subject is about.
    pub(crate) fn line(&mut self, agent: &str, line: &Line) -> io::Result<()> {
        match self.format {
            Format::Json => self.json(line.event, line.fields.clone()),
            Format::Text => {
                let time = self.elapsed().as_secs_f64();
                let label = line.tone.paint(format_args!("{:<10}", line.label));
                let subject = line.subject.as_deref().unwrap_or(agent);
                let text = format!("{time:>10.3} s  {label}  {subject:<16}  {}", line.details);
                self.text(text.trim_end())
            }
        }
    }

    /// One object: the time, the event, then its fields.
    pub(crate) fn json(
        &mut self,
        event: &str,
        fields: Map<String, serde_json::Value>,
    ) -> io::Result<()> {
        let mut object = Map::new();
        object.insert("t".into(), json!(rounded(self.elapsed().as_secs_f64())));
        object.insert("event".into(), json!(event));
        object.extend(fields);
        writeln!(self.out, "{}", serde_json::Value::Object(object))
    }

    /// An event as one observer of several sees it.
    pub(crate) fn observed(&mut self, observer: &str, line: Line) -> io::Result<()> {
        let line = line.with("observer", observer);
        self.json(line.event, line.fields)
    }

    /// A sentence on the time line.
    pub(crate) fn tell(&mut self, tone: Tone, sentence: impl Display) -> io::Result<()> {
        let time = self.elapsed().as_secs_f64();
        self.text(&format!("[{time:>6.2} s] {}", tone.paint(sentence)))
    }

    /// A line of text, above the table if there is one.
    pub(crate) fn text(&mut self, line: &str) -> io::Result<()> {
        self.erase()?;
        writeln!(self.out, "{line}")
    }

    /// Draws a table in the place of the one before.
    pub(crate) fn draw(&mut self, rows: &[String]) -> io::Result<()> {
        self.erase()?;
        for row in rows {
            writeln!(self.out, "{row}")?;
        }
        self.drawn = rows.len();
        self.out.flush()
    }

    /// Leaves the table where it is.
    pub(crate) fn settle(&mut self) {
        self.drawn = 0;
    }

    fn erase(&mut self) -> io::Result<()> {
        if self.drawn > 0 {
            // Up to the table's first line, then clear to the end of the screen.
            write!(self.out, "\x1b[{}A\x1b[J", self.drawn)?;
            self.drawn = 0;
        }
        Ok(())
    }
}
