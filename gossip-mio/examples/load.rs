//! How late writes of the shared map are read on this machine, over real sockets, by real processes.
//!
//! `cargo run --release -p gossip-mio --example load -- [seconds] [writes a second] [--json]`: five nodes
//! write; one of them is killed in the middle, and starts again five seconds later. By default 60 seconds
//! and 500 writes a second of all nodes together. Every value says when it was written. Each node compares
//! that with the time at which it tells of the change. A node counts what was written after it had joined.
//!
//! `… --example load -- newcomer [megabytes] [writes a second] [--json]`: a fifth node comes to a map of 50
//! megabytes, while the others write. By default nobody writes.

#[path = "load/child.rs"]
mod child;

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long all nodes may take to read the same.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the killed node is away.
const AWAY: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_json = arguments.iter().any(|argument| argument == "--json");
    arguments.retain(|argument| argument != "--json");
    let number = |at: usize, otherwise: u64| match arguments.get(at) {
        Some(text) => text.parse::<u64>().map_err(Box::from),
        None => Ok(otherwise),
    };
    let outcome = match arguments.first().map(String::as_str) {
        Some(child::ARGUMENT) => child::run(arguments.get(1..).unwrap_or_default()).map(|()| true),
        Some("newcomer") => number(1, 50).and_then(|size| {
            let rate = number(2, 0)?;
            newcomer(size, rate, is_json)
        }),
        _ => number(0, 60).and_then(|seconds| {
            let rate = number(1, 500)?;
            load(seconds, rate, is_json)
        }),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A process with one node in it.
struct Agent {
    name: String,
    address: String,
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Agent {
    fn start(name: &str, seeds: &[String]) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([child::ARGUMENT, name])
            .args(seeds)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().ok_or("no standard input")?;
        let answers = process.stdout.take().ok_or("no standard output")?;
        let mut agent = Self {
            name: name.to_owned(),
            address: String::new(),
            process,
            orders,
            answers: BufReader::new(answers).lines(),
        };
        agent.address = agent.answer()?;
        Ok(agent)
    }

    fn answer(&mut self) -> Outcome<String> {
        Ok(self.answers.next().ok_or("a process has ended")??)
    }

    fn order(&mut self, order: &str) -> Outcome<()> {
        Ok(writeln!(self.orders, "{order}")?)
    }

    fn ask(&mut self, question: &str) -> Outcome<String> {
        self.order(question)?;
        self.answer()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts so many nodes, and waits until each knows all.
fn cluster(nodes: usize) -> Outcome<Vec<Agent>> {
    let mut agents: Vec<Agent> = Vec::new();
    for number in 0..nodes {
        let seeds = seeds(&agents);
        agents.push(Agent::start(&format!("node-{number}"), &seeds)?);
    }
    wait_until(&mut agents, "all know all", |agents| {
        for agent in agents {
            if agent.ask("members")? != nodes.to_string() {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(agents)
}

fn seeds(agents: &[Agent]) -> Vec<String> {
    agents.iter().map(|agent| agent.address.clone()).collect()
}

/// Asks over and over, and tells how long it took.
fn wait_until(
    agents: &mut Vec<Agent>,
    what: &str,
    mut done: impl FnMut(&mut Vec<Agent>) -> Outcome<bool>,
) -> Outcome<Duration> {
    let began = Instant::now();
    while !done(agents)? {
        if began.elapsed() > PATIENCE {
            return Err(format!("not within {PATIENCE:?}: {what}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(began.elapsed())
}

fn are_equal(agents: &mut Vec<Agent>) -> Outcome<bool> {
    let mut states = Vec::new();
    for agent in agents {
        states.push(agent.ask("state")?);
    }
    states.dedup();
    Ok(states.len() == 1)
}

/// What the nodes have seen: seconds by which writes were late, and counts.
#[derive(Default)]
struct Seen {
    late: Vec<f64>,
    written: u64,
    refused: u64,
    suspected: u64,
    down: u64,
    lagged: u64,
}

impl Seen {
    fn take(&mut self, agent: &mut Agent) -> Outcome<Vec<f64>> {
        let answer = agent.ask("seen")?;
        let mut words = answer.split(' ');
        let counts = [
            &mut self.written,
            &mut self.refused,
            &mut self.suspected,
            &mut self.down,
            &mut self.lagged,
        ];
        for count in counts {
            *count += words.next().ok_or("a count is missing")?.parse::<u64>()?;
        }
        let mut late = Vec::new();
        for micros in words.filter(|word| !word.is_empty()) {
            late.push(f64::from(micros.parse::<u32>()?) / 1e6);
        }
        self.late.extend(&late);
        Ok(late)
    }
}

/// The value below which so many of a hundred are.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn load(seconds: u64, rate: u64, is_json: bool) -> Outcome<bool> {
    let mut agents = cluster(5)?;
    let each = rate.div_ceil(5);
    let began = Instant::now();
    let wait_for = |after: Duration| thread::sleep(after.saturating_sub(began.elapsed()));
    for agent in &mut agents {
        agent.order(&format!("write {each} {seconds}"))?;
    }
    let middle = Duration::from_secs(seconds) / 2;
    wait_for(middle);
    let mut victim = agents.pop().ok_or("no node to kill")?;
    victim.process.kill()?;
    victim.process.wait()?;
    let mut seen = Seen::default();
    wait_for(middle + AWAY);
    let mut back = Agent::start(&victim.name, &seeds(&agents))?;
    let left = seconds.saturating_sub(began.elapsed().as_secs());
    back.order(&format!("write {each} {left}"))?;
    agents.push(back);
    wait_for(Duration::from_secs(seconds + 1));
    let agreed = wait_until(&mut agents, "all maps are equal", are_equal)?;

    if !is_json {
        println!(
            "{:<10} {:>9} {:>9} {:>9} {:>9}",
            "node", "changes", "p50 s", "p99 s", "max s"
        );
    }
    let tell = |name: &str, mut late: Vec<f64>| {
        late.sort_by(f64::total_cmp);
        let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(&late, percent));
        let changes = late.len();
        if is_json {
            println!(
                r#"{{"node":"{name}","changes":{changes},"late_p50_s":{p50:.6},"late_p99_s":{p99:.6},"late_max_s":{max:.6}}}"#
            );
        } else {
            println!("{name:<10} {changes:>9} {p50:>9.4} {p99:>9.4} {max:>9.4}");
        }
    };
    for agent in &mut agents {
        let late = seen.take(agent)?;
        tell(&agent.name, late);
    }
    tell("all", std::mem::take(&mut seen.late));
    let Seen {
        written,
        refused,
        suspected,
        down,
        lagged,
        ..
    } = seen;
    let agreed = agreed.as_secs_f64();
    if is_json {
        println!(
            r#"{{"written":{written},"refused":{refused},"suspected":{suspected},"down":{down},"lagged":{lagged},"equal_after_s":{agreed:.3}}}"#
        );
    } else {
        println!(
            "{written} writes ({refused} refused) by the five that live; suspected {suspected} times, down {down} times; \
             {lagged} times events were lost; all maps equal {agreed:.2} s after the last write and a second"
        );
    }
    Ok(true)
}

fn newcomer(megabytes: u64, rate: u64, is_json: bool) -> Outcome<bool> {
    let mut agents = cluster(4)?;
    for agent in &mut agents {
        agent.order(&format!("fill {}", megabytes * 1000 / 4))?;
    }
    // The answer comes when all is written.
    for agent in &mut agents {
        agent.answer()?;
    }
    let filled = wait_until(&mut agents, "all hold the map", are_equal)?;
    if rate > 0 {
        for agent in &mut agents {
            agent.order(&format!("write {} 600", rate.div_ceil(4)))?;
        }
        thread::sleep(Duration::from_secs(5));
    }
    let mut before = Seen::default();
    for agent in &mut agents {
        before.take(agent)?;
    }
    let wanted = agents.first_mut().ok_or("no node")?.ask("frontiers")?;
    let seeds = seeds(&agents);
    let began = Instant::now();
    agents.push(Agent::start("newcomer", &seeds)?);
    wait_until(&mut agents, "the newcomer has all", |agents| {
        let newcomer = agents.last_mut().ok_or("no node")?;
        Ok(newcomer.ask(&format!("has {wanted}"))? == "true")
    })?;
    let took = began.elapsed().as_secs_f64();
    let mut seen = Seen::default();
    for agent in agents.iter_mut().take(4) {
        seen.take(agent)?;
    }
    let suspected = seen.suspected.saturating_sub(before.suspected);
    let down = seen.down.saturating_sub(before.down);
    let written = seen.written.saturating_sub(before.written);
    let filled = filled.as_secs_f64();
    if is_json {
        println!(
            r#"{{"megabytes":{megabytes},"rate":{rate},"filled_after_s":{filled:.3},"newcomer_s":{took:.3},"written":{written},"suspected":{suspected},"down":{down}}}"#
        );
    } else {
        println!(
            "a newcomer has {megabytes} MB after {took:.2} s, in which {written} writes were made; suspected {suspected} \
             times, down {down} times (the four others had the map {filled:.2} s after it was written)"
        );
    }
    Ok(suspected == 0 && down == 0)
}
