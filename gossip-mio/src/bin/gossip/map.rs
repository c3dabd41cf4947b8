//! The shared map in words.

use gossip_mio::gossip_core::map::{Reading, Version};
use gossip_mio::gossip_core::{Key, Node, NodeId, Stamp, Value};
use serde_json::{Map, json};

use crate::report::{Line, Names, Tone, readable};

impl Line {
    /// What is read under a key has changed; the line is about the writer.
    pub(crate) fn changing(
        self,
        key: &Key,
        old: Option<&Value>,
        new: Option<&Value>,
        stamp: Stamp,
    ) -> Self {
        let says = match new {
            Some(new) => format!("{key} = {}", readable(new).1),
            None => format!("{key} deleted"),
        };
        let was = match old {
            Some(old) => format!(" (was {})", readable(old).1),
            None => String::new(),
        };
        self.with("key", key.as_str())
            .with_value("old", old)
            .with_value("new", new)
            .with("stamp", stamp.to_string())
            .saying(format!("{says}{was}"))
    }

    /// Writes of a key did not know each other.
    pub(crate) fn colliding(
        self,
        key: &Key,
        standing: &[Version],
        lost: &[Version],
        names: &Names,
    ) -> Self {
        let list = |versions: &[Version]| -> Vec<serde_json::Value> {
            let version = |version: &Version| {
                let fields = Self::fields_of(version).into_iter();
                let writer = ("writer".to_owned(), json!(names.of(version.writer)));
                fields.chain([writer]).collect::<Map<_, _>>().into()
            };
            versions.iter().map(version).collect()
        };
        let words = |versions: &[Version]| {
            let words = versions
                .iter()
                .map(|v| format!("{} by {}", said(v.value.as_ref()), names.of(v.writer)));
            words.collect::<Vec<_>>().join(", ")
        };
        let fate = match lost {
            [] => "all are kept: resolve them".to_owned(),
            lost => format!("lost: {}", words(lost)),
        };
        self.with("key", key.as_str())
            .with("standing", list(standing))
            .with("lost", list(lost))
            .saying(format!("{key}: {}; {fate}", words(standing)))
    }

    /// A value was dropped that nobody had replaced; the line is about the writer.
    pub(crate) fn dropping(self, key: &Key, dropped: &Version) -> Self {
        self.with("key", key.as_str())
            .with_value("value", dropped.value.as_ref())
            .with("stamp", dropped.stamp.to_string())
            .saying(format!(
                "{key} = {} is gone: others forgot its writer",
                said(dropped.value.as_ref())
            ))
    }

    /// What a node reads under a key, each value in a line about its writer.
    pub(crate) fn values(node: &Node, key: &Key) -> Vec<Self> {
        let readings = node.siblings(key);
        if readings.is_empty() {
            let line = Self::new("value", "value", Tone::Plain).with("key", key.as_str());
            let line = line.with_value("value", None).with("siblings", 0);
            return vec![line.saying(format!("nothing is read under {key}"))];
        }
        let siblings = readings.len();
        let line = |reading: &Reading<'_>| {
            let writer = reading.writer.id;
            let value = Value::new(reading.value).ok();
            Self::new("value", "value", Tone::Plain)
                .about(writer, name_of(node, writer))
                .with("key", key.as_str())
                .with_value("value", value.as_ref())
                .with("stamp", reading.stamp.to_string())
                .with("siblings", siblings)
                .saying(format!("{key} = {}", said(value.as_ref())))
        };
        readings.iter().map(line).collect()
    }

    fn fields_of(version: &Version) -> Map<String, serde_json::Value> {
        Self::new("value", "value", Tone::Plain)
            .with("stamp", version.stamp.to_string())
            .with_value("value", version.value.as_ref())
            .into_fields()
    }
}

fn said(value: Option<&Value>) -> String {
    value.map_or_else(|| "a delete".to_owned(), |value| readable(value).1)
}

fn name_of(node: &Node, id: NodeId) -> String {
    node.member(id)
        .map_or_else(|| id.to_string(), |member| member.name().to_string())
}
