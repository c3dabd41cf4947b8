#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::restriction)]
use conformance::sim::*;
use conformance::swarm::Plan;
fn main() {
    let seed: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let only: Vec<usize> = std::env::args()
        .nth(2)
        .unwrap()
        .split(',')
        .map(|x| x.parse().unwrap())
        .collect();
    let x: u32 = std::env::args().nth(3).unwrap().parse().unwrap();
    let plan = Plan::draw(seed).only(&only);
    let mut world = World::new(plan.seed, plan.delay);
    for host in 0..plan.hosts {
        world.add(&format!("n{host}"), plan.config.clone()).unwrap();
    }
    let mut last = Time::START;
    for (at, a) in plan.script() {
        world.run_until(at);
        world.perform(a);
        last = at;
    }
    let xid = world.host(HostId::new(x)).node_id();
    for t in std::env::args().nth(4).unwrap().split(',') {
        let t: f64 = t.parse().unwrap();
        let _ = last;
        world.run_until(Time::from_nanos((t * 1e9) as u64));
        println!("at {t}");
        for h in world.hosts() {
            if let Some(node) = h.node() {
                if let Some(m) = node.member(xid) {
                    println!(
                        "  {:?} {} status {:?} gen {} frontier {} hb {:?} phi {:?} votes {:?}",
                        h.id(),
                        node.id(),
                        m.status(),
                        m.generation(),
                        m.frontier(),
                        m.heartbeat(),
                        node.phi(xid),
                        node.votes(xid).map(|v| v.observer).collect::<Vec<_>>()
                    );
                    let me = node.metrics();
                    println!(
                        "       pauses {} suspicions {} votes_cast {} refut {} verdicts {} flaps {} skew {}",
                        me.pauses,
                        me.suspicions,
                        me.votes_cast,
                        me.refutations,
                        me.verdicts,
                        me.flaps,
                        me.refused_skew
                    );
                }
            }
        }
    }
}
