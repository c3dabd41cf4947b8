//! The `gossip` program from outside: exit codes, and what it prints.
#![cfg(feature = "cli")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(40);

fn gossip(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gossip"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    gossip(arguments).output().unwrap()
}

/// A running agent that prints JSON.
struct Agent {
    child: Child,
    input: ChildStdin,
    lines: Receiver<Value>,
    address: String,
}

impl Agent {
    fn start(name: &str, more: &[&str]) -> Self {
        Self::start_at("100ms", name, more)
    }

    fn start_at(interval: &str, name: &str, more: &[&str]) -> Self {
        Self::spawn(gossip(&[]), interval, name, more)
    }

    fn spawn(mut command: Command, interval: &str, name: &str, more: &[&str]) -> Self {
        let mut child = command
            .args(["agent", "--name", name, "--interval", interval])
            .args(["--bind", "127.0.0.1:0", "--json"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).expect(&line));
            }
        });
        let mut agent = Self {
            child,
            input,
            lines,
            address: String::new(),
        };
        let started = agent.wait_for("started", |_| true);
        assert_eq!(started["name"], name);
        agent.address = started["address"].as_str().unwrap().to_owned();
        agent
    }

    /// Reads lines until one is this event and wanted.
    fn wait_for(&self, event: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|e| panic!("no {event}: {e}"));
            if line["event"] == event && wanted(&line) {
                return line;
            }
        }
    }

    /// Writes a line to its standard input.
    fn told(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_wrong_command_line_gets_one_sentence_and_exit_code_2() {
    let long_key = format!("{}=v", "k".repeat(65));
    let long_value = format!("k={}", "v".repeat(1025));
    let many: Vec<String> = (0..20)
        .map(|i| format!("k{i}={}", "v".repeat(1000)))
        .collect();
    let mut too_much = vec!["--bind", "127.0.0.1:0"];
    too_much.extend(many.iter().flat_map(|set| ["--set", set]));
    let cases: [(&[&str], &str); 13] = [
        (&["--interval", "0s"], "interval is 0 s"),
        (&["--interval", "soon"], "500ms, 1s or 2m"),
        (&["--fanout", "0"], "fanout is 0"),
        (&["--bind", "localhost"], "write it like 127.0.0.1:7946"),
        (&["--bind", "0.0.0.0:0"], "advertise"),
        (&["--seed", "10.0.0.1"], "write it like 10.0.0.1:7946"),
        (&["--set", "schema"], "write key=value"),
        (&["--set", &long_key], "shorten it to at most 64"),
        (&["--set", &long_value], "keep it to at most 1024"),
        (&too_much, "delete attributes, or raise max_state"),
        (&["--frobnicate"], "--help lists what there is"),
        (&["--key-file", "/nowhere/keys"], "cannot read the key file"),
        (&["--encryption", "prefer"], "--key-file"),
    ];
    for (arguments, remedy) in cases {
        let output = gossip(&["agent", "--name", "a"])
            .args(arguments)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        let errors: Vec<_> = stderr
            .lines()
            .filter(|line| !line.starts_with("warning: "))
            .collect();
        assert_eq!(errors.len(), 1, "{stderr}");
        assert!(errors[0].starts_with("error: "), "{stderr}");
        assert!(errors[0].contains(remedy), "{stderr}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["agent", "--help"],
        &["demo", "--help"],
        &["dissect", "--help"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn what_an_agent_sends_is_told() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let seed = socket.local_addr().unwrap().to_string();
    let _agent = Agent::start("a", &["--seed", &seed]);
    let mut buffer = [0; 1400];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    let digits: Vec<String> = (buffer[..length].iter().map(|byte| format!("{byte:02x}"))).collect();
    let told = output(&["dissect", &digits.concat()]);
    assert_eq!(told.status.code(), Some(0));
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.starts_with("exchange, leg 1 (SYN)"), "{told}");

    let mut piped = gossip(&["dissect"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = format!("{}\n\n{}\nno\n", digits.join(":"), digits[1..].concat());
    let mut input = piped.stdin.take().unwrap();
    input.write_all(lines.as_bytes()).unwrap();
    let last = [b"\xff\xfe\n", digits.concat().as_bytes()].concat();
    input.write_all(&last).unwrap();
    drop(input);
    let piped = piped.wait_with_output().unwrap();
    assert_eq!(piped.status.code(), Some(1));
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), told.repeat(2));
    let stderr = String::from_utf8(piped.stderr).unwrap();
    assert!(stderr.contains("line 3: it is of version 0"), "{stderr}");
    assert!(stderr.contains("line 4: it is not hexadecimal"), "{stderr}");
    assert!(stderr.contains("line 5: it is no text"), "{stderr}");
}

#[test]
fn a_taken_address_is_exit_code_1() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let output = output(&["agent", "--name", "a", "--bind", &address]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&format!("{address} is in use")), "{stderr}");
}

#[cfg(unix)]
#[test]
fn agents_meet_tell_of_themselves_and_leave_on_a_signal() {
    let a = Agent::start("a", &[]);
    let mut b = Agent::start("b", &["--seed", &a.address, "--set", "role=db"]);
    let up = a.wait_for("member_up", |line| line["name"] == "b");
    assert_eq!(up["address"], b.address.as_str());
    assert_eq!(up["cause"], "joined");
    let role = a.wait_for("attribute_changed", |line| line["key"] == "role");
    assert_eq!((&role["name"], &role["value"]), (&"b".into(), &"db".into()));

    b.signal("-TERM");
    let end = a.wait_for("member_left", |_| true);
    assert_eq!(end["name"], "b");
    assert_eq!(b.child.wait().unwrap().code(), Some(0));
    b.wait_for("leave_completed", |_| true);
}

/// Neither side is told that the other is the first of a cluster, or that nothing is wrong.
#[cfg(unix)]
#[test]
fn an_agent_whose_seed_is_of_another_cluster_says_that_it_does_not_answer() {
    let a = Agent::start("a", &["--cluster", "one"]);
    let first = a.wait_for("joined", |_| true);
    assert_eq!(first["cause"], "no_seeds");
    let b = Agent::start("b", &["--cluster", "two", "--seed", &a.address]);
    let alone = b.wait_for("joined", |_| true);
    assert_eq!(alone["cause"], "no_answer");
    let silent = b.wait_for("seed_silent", |_| true);
    assert_eq!(silent["seed"], a.address.as_str());
    let refused = a.wait_for("datagrams_refused", |_| true);
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("another cluster"), "{reason}");
}

#[cfg(unix)]
#[test]
fn a_killed_agent_is_down_by_name() {
    let a = Agent::start("a", &[]);
    let b = Agent::start("b", &["--seed", &a.address]);
    a.wait_for("member_up", |line| line["name"] == "b");
    b.wait_for("member_up", |line| line["name"] == "a");
    b.signal("-KILL");
    let down = a.wait_for("member_down", |_| true);
    assert_eq!(down["name"], "b");
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_an_agent_at_once() {
    // Leaving takes a share of the interval; this one leaves time for a second thought.
    let mut a = Agent::start_at("60s", "a", &[]);
    a.signal("-INT");
    // As `timeout` does; it must not count.
    a.signal("-INT");
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        thread::sleep(Duration::from_millis(100));
        a.signal("-TERM");
        match a.child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < deadline, "it goes on"),
        }
    };
    assert_eq!(status.code(), Some(130));
}

/// It does not hold up the signal that nobody reads what is printed, nor the keys.
#[cfg(unix)]
#[test]
fn an_agent_whose_output_nobody_reads_changes_its_keys_and_ends() {
    let folder = std::env::temp_dir().join(format!("gossip-mute-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("keys").to_str().unwrap().to_owned();
    let write = |keys: [&str; 2]| {
        let draft = folder.join("draft");
        std::fs::write(&draft, keys.map(|key| key.repeat(32)).join("\n")).unwrap();
        std::fs::rename(&draft, &path).unwrap();
    };
    write(["0a", "0a"]);
    let other = folder.join("other");
    std::fs::write(&other, "0b".repeat(32)).unwrap();
    let a = Agent::start("a", &["--key-file", other.to_str().unwrap()]);
    let mut mute = gossip(&["agent", "--name", "mute", "--interval", "100ms", "--json"])
        .args(["--bind", "127.0.0.1:0", "--stdin", "--key-file", &path])
        .args(["--seed", &a.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = mute.stdin.take().unwrap();
    // More than a pipe holds.
    for n in 0..2000 {
        writeln!(input, "put key{n}={}", "v".repeat(100)).unwrap();
    }
    write(["0b", "0a"]);
    a.wait_for("member_up", |line| line["name"] == "mute");
    let pid = mute.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    a.wait_for("member_left", |line| line["name"] == "mute");
    let deadline = Instant::now() + LIMIT;
    while mute.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it goes on");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(mute.wait().unwrap().code(), Some(0));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// As after logging out, for whoever started it with `nohup`.
#[cfg(unix)]
#[test]
fn an_agent_that_is_to_ignore_hangups_does() {
    let binary = env!("CARGO_BIN_EXE_gossip");
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", binary]);
    let mut a = Agent::spawn(shell, "100ms", "a", &["--stdin"]);
    a.signal("-HUP");
    a.told("put k=v");
    a.wait_for("map_changed", |line| line["new"] == "v");
    a.signal("-TERM");
    a.wait_for("leave_completed", |_| true);
}

#[test]
fn the_agent_prints_columns_for_people() {
    let mut child = gossip(&["agent", "--name", "a", "--bind", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[1..4], ["s", "started", "a"], "{line}");
    assert!(!line.contains('\x1b'), "no colour into a pipe: {line:?}");
}

#[test]
fn the_demo_succeeds_and_sums_up() {
    let mut child = gossip(&["demo", "--nodes", "4", "--interval", "200ms", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "step")
        .map(|line| {
            (
                line["step"].as_str().unwrap(),
                line["result"].as_str().unwrap(),
            )
        })
        .collect();
    let names = ["meet", "schema", "listen", "kill", "restart", "leave"];
    assert_eq!(steps, names.map(|name| (name, "ok")));
    assert_eq!(lines.last().unwrap()["ok"], true);
    assert!(lines.iter().any(|line| line["event"] == "phi"));
}

#[test]
fn lines_of_standard_input_are_broadcast_and_printed_by_the_others() {
    let reader = Agent::start("reader", &["--watch", "schema"]);
    let agreed = reader.wait_for("agreement_reached", |line| line["key"] == "schema");
    assert!(agreed["value"].is_null());
    let mut writer = gossip(&[
        "agent",
        "--name",
        "writer",
        "--interval",
        "100ms",
        "--stdin",
    ])
    .args(["--bind", "127.0.0.1:0", "--seed", &reader.address])
    .stdin(Stdio::piped())
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let mut lines = writer.stdin.take().unwrap();
    lines
        .write_all(b"deploy=v5\nno topic\ndeploy=v6\n")
        .unwrap();
    for (number, text) in [(1, "v5"), (2, "v6")] {
        let line = reader.wait_for("broadcast", |_| true);
        assert_eq!(line["name"], "writer");
        assert_eq!(
            (&line["topic"], &line["payload"]),
            (&"deploy".into(), &text.into())
        );
        assert_eq!(line["number"], number);
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
}

#[test]
fn agents_write_and_read_the_shared_map() {
    let mut a = Agent::start("a", &["--stdin"]);
    let mut b = Agent::start("b", &["--stdin", "--seed", &a.address]);
    a.wait_for("member_up", |line| line["name"] == "b");
    b.wait_for("member_up", |line| line["name"] == "a");
    b.told("put colour=red");
    let line = a.wait_for("map_changed", |_| true);
    assert_eq!(
        (&line["name"], &line["key"]),
        (&"b".into(), &"colour".into())
    );
    assert_eq!((&line["old"], &line["new"]), (&Value::Null, &"red".into()));
    a.told("put colour=blue");
    let line = b.wait_for("map_changed", |line| line["name"] == "a");
    assert_eq!(
        (&line["old"], &line["new"]),
        (&"red".into(), &"blue".into())
    );
    b.told("get colour");
    let line = b.wait_for("value", |_| true);
    assert_eq!(
        (&line["name"], &line["value"]),
        (&"a".into(), &"blue".into())
    );
    b.told("delete colour");
    let line = a.wait_for("map_changed", |line| line["name"] == "b");
    assert_eq!((&line["old"], &line["new"]), (&"blue".into(), &Value::Null));
    a.told("watch x y\nget colour");
    let line = a.wait_for("value", |_| true);
    assert_eq!(
        (&line["value"], &line["siblings"]),
        (&Value::Null, &0.into())
    );
    b.told("put colour=green\nput xenon=noble");
    let line = a.wait_for("map_changed", |_| true);
    assert_eq!(line["key"], "xenon", "colours are not watched any more");
}

#[cfg(unix)]
#[test]
fn agents_that_write_without_knowing_of_one_another_keep_both_values_until_resolved() {
    let mut a = Agent::start("a", &["--stdin"]);
    a.told("keep k=1");
    a.wait_for("map_changed", |_| true);
    a.signal("-STOP");
    let mut b = Agent::start("b", &["--stdin", "--seed", &a.address]);
    b.told("keep k=2");
    b.wait_for("map_changed", |_| true);
    a.signal("-CONT");
    for agent in [&mut a, &mut b] {
        let line = agent.wait_for("map_conflict", |_| true);
        let standing = line["standing"].as_array().unwrap().iter();
        let standing: Vec<_> = standing
            .map(|one| (&one["writer"], &one["value"]))
            .collect();
        let both = [(&"b".into(), &"2".into()), (&"a".into(), &"1".into())];
        assert_eq!(standing, both, "the latest first");
        agent.told("get k");
        for value in ["2", "1"] {
            assert_eq!(agent.wait_for("value", |_| true)["value"], value);
        }
    }
    b.told("put k=refused\nresolve k=3");
    let line = a.wait_for("map_changed", |line| line["new"] != "2");
    assert_eq!((&line["name"], &line["new"]), (&"b".into(), &"3".into()));
}

#[test]
fn agents_share_keys_and_change_them_while_they_run() {
    let folder = std::env::temp_dir().join(format!("gossip-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| key.repeat(32)).collect();
        let path = folder.join(name);
        // Written whole or not at all: the agent may look at any moment.
        let draft = folder.join("draft");
        std::fs::write(&draft, keys.join("\n")).unwrap();
        std::fs::rename(&draft, &path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let a = Agent::start("a", &["--key-file", &file("a", &["0a"])]);
    let b = Agent::start(
        "b",
        &["--seed", &a.address, "--key-file", &file("b", &["0b"])],
    );
    a.wait_for("encryption_mismatch", |line| line["address"] == b.address);
    // The one that is wrong gets the right key, and comes in.
    file("b", &["0a", "0b"]);
    a.wait_for("member_up", |line| line["name"] == "b");
    b.wait_for("member_up", |line| line["name"] == "a");
    drop((a, b));
    std::fs::remove_dir_all(&folder).unwrap();
}
