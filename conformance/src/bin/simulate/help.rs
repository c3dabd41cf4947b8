//! What `--help` says about figures.

pub(crate) const COMMON: &str = "\
Every run reports scenario, nodes, seed, runs, loss, interval_s, fanout, mode and eager, then the \
figures of its scenario, then:
  violations   invariants found broken on the way; any makes the exit code 1
  trace        a hash over every datagram, and one over every event: equal for equal runs

Times are virtual seconds. Bytes are UDP payload, counted where they are sent, lost or not. null \
means that it did not come to it. `wrong_down` counts MemberDown events about members that run and \
that each can reach the other directly at that moment.

The exit code is 0, or 1 where an invariant broke or a cluster did not form, or 2 for a wrong \
command line.";

pub(crate) const JOIN: &str = "\
Figures (--seconds: the time they may take, 300 by default):
  converged_s            when every node counts every node as live; time counts from the first start
  bytes_per_node         sent by each node until then
  datagrams_per_node     likewise
  datagrams_of_a_seed    the most that one of the seeds has sent until then
  max_datagram           the longest one, in bytes
  known_share            share of all pairs that know each other in the end
  wrong_down             wrong verdicts on the way
  heap_bytes_per_member  memory in the end, divided by nodes squared
  heap_peak_bytes        the most memory this process ever used";

pub(crate) const NEWCOMER: &str = "\
The nodes write --state bytes of attributes each, in values of 1000 bytes. When all is at rest (--warm-up: \
20 intervals), one more node joins.

Figures (--seconds: the time that it may take, 120 by default):
  joined_s               seconds from its start until it takes part
  complete_s             until it also holds all that the others hold
  state_kb               kilobytes of that
  taken_kb, sent_kb      kilobytes that it was sent, and that it sent
  max_kb_per_peer        the most that one peer sent meanwhile, what it sends at rest included
  max_kb_per_peer_and_s  likewise within any second
  wrong_down             wrong verdicts";

pub(crate) const STEADY: &str = "\
Figures (--seconds: how long it is measured, 60 by default; --warm-up: 20 intervals):
  bytes_per_node_per_s        sent by each node while nothing changes
  liveness_bytes_per_node_per_s  heartbeats, pings and their answers among them
  datagrams_per_node_per_s    likewise
  max_datagram                the longest one since the first start, joining included
  cpu_us_per_node_per_s       CPU time of the nodes alone: all CPU time, times the share that nodes \
take in 10 more seconds that are measured step by step
  cpu_us_with_simulator       CPU time of nodes, queue and network together
  realtime_factor             virtual seconds for each second of CPU time
  heap_bytes_per_member       memory at rest, divided by nodes squared
  allocated_bytes_per_node_per_s  allocated while nothing changes, freed or not
  inputs_per_node_per_s       datagrams, timeouts and commands that each node handles
  formed_s                    when the cluster had formed
  join_bytes_per_node         sent by each node until it was at rest
  wrong_down                  wrong verdicts since it formed";

pub(crate) const SPREAD: &str = "\
A node drawn at random writes at a random moment; when all know (or after --seconds, 120 by \
default) and one interval more, the next one does.

A round is an interval: within any interval each node begins exactly one round, so the time until \
the last node knows, divided by the interval, counts rounds as the limits of synchronous rounds do.

Figures:
  rounds_mean, rounds_p50, rounds_p99, rounds_max
                     rounds until the last node knows, over the writes
  p50_s, p99_s       seconds until a node knows, over all writes and nodes
  max_s              the longest of them
  within_60ms        share of nodes that know after 60 ms
  payloads_per_node  datagrams sent that carry the value, for each node and write
  bytes_per_node     bytes sent beyond those at rest before the first write, for each node and \
write; off where there is no rest, as under heavy loss
  writes             how many
  unfinished         writes that did not reach everybody in time";

pub(crate) const LOAD: &str = "\
For --seconds (30), nodes drawn at random write at random moments, --rate times a second in all, to one of \
--keys keys. Then all get 30 s to read what was written.

Figures:
  late_p50_s, late_p99_s, late_max_s
                   seconds from a write until every node reads it or a later one
  never            writes that not all had read 30 s after the last
  writes, refused  how many, and how many the writer refused
  bytes_per_written_byte_and_node
                   bytes sent beyond those at rest, for each byte of a value and each node
  datagrams_per_node_per_s
                   datagrams that each node sends in a second while nodes write
  cpu_us_per_node_and_write
                   time that each node spends on each write, those at rest included
  max_queue_bytes  the most that a node sends because of one input
  max_siblings     the most values of a key in the end
  wrong_down       wrong verdicts";

pub(crate) const FETCH: &str = "\
All nodes but one have a map of --keys keys. Then the last one starts, behind a link that lets through --link \
bytes a second from each node if that is given. --seconds (600) is how long it may take.

Figures:
  fetch_s            seconds until the newcomer has all keys
  link_share         bytes of values in a second, as a share of what the link lets through
  lost_share         which share of all bytes sent is lost
  sent_per_map_byte  bytes that all nodes send meanwhile, for each byte of values
  suspicions         members that any node suspects meanwhile
  wrong_down         wrong verdicts
  refused            writes that their node refused
  others_have        1 if all others had the map before";

pub(crate) const CRASH: &str = "\
Figures (--seconds: how long to wait, 120 by default; --warm-up: 70 intervals):
  killed             how many crashed
  detect_first_s     seconds from the crash to the first verdict
  detect_p50_s, detect_p99_s
                     over all pairs of a survivor and a dead one
  detect_last_s      until the last survivor holds the last of the dead down
  detected_share     share of the pairs that came to it
  wrong_down         verdicts about survivors";

pub(crate) const LOSS: &str = "\
The cluster forms without loss; then --loss (0.3 by default) for --seconds (120); then none again.

Figures:
  wrong_down                wrong verdicts, those after the loss included
  wrong_down_per_node_hour  those during the loss, for each node and hour
  wrong_down_about_others   those about members that are not sick
  live_share_at_end         share of pairs that hold each other live when the loss ends
  all_up_after_s            seconds after the loss until every node holds every node live, and goes \
on to for 15 intervals";

pub(crate) const PARTITION: &str = "\
The cluster is cut in two for --seconds (60 by default); a node on either side writes meanwhile.

Figures:
  smaller_side           nodes on the drawn side
  settled_s              seconds after the cut until each side holds all of the other side down, and \
none of its own
  heal_s                 seconds after healing until every node holds every node live
  bytes_per_node         sent by each node from the healing until then
  datagrams_per_node     likewise
  bytes_per_node_in_10s  sent by each node in the ten seconds after the healing
  keys_everywhere_s      seconds after healing until both writes are known to all
  wrong_down_during      verdicts about members of the own side during the cut
  wrong_down_after_heal  verdicts after healing
  live_share_before_heal share of pairs that hold each other live when the cut ends
  live_share_at_end      and in the end

settled_s and heal_s count from when it begins to hold without a break for 15 intervals.";

pub(crate) const RESTART: &str = "\
Figures (--seconds: how long to wait, 120 by default):
  away_s         how long the process was away
  seen_first_s, seen_p50_s, seen_p99_s
                 seconds from the start until a node reports the new life
  seen_last_s    until the last one does
  sees_all_s     until the restarted node holds every node live
  old_after_new  reports of the old life by nodes that had seen the new one
  wrong_down     verdicts about the new life, or about others";

pub(crate) const PAUSE: &str = "\
Each of --count nodes stops for --pause, every --every, at times of its own, for --seconds (120).

Figures:
  disturbed              how many are paused
  down_about_disturbed   verdicts about them
  down_about_others      verdicts about others
  down_about_others_by_disturbed  those of them that paused nodes came to
  wrong_down             verdicts about members that ran at that moment
  all_up_after_s         seconds after the last pause until every node holds every node live";

pub(crate) const SLOW: &str = "\
--count nodes handle everything --lag late, datagrams and timers alike, for --seconds (120).

Figures:
  disturbed              how many are slow
  down_about_disturbed   verdicts about them
  down_about_others      verdicts about others
  down_about_others_by_disturbed  those of them that slow nodes came to
  wrong_down             all verdicts about members that run, the slow ones included
  all_up_after_s         seconds after the end until every node holds every node live";

pub(crate) const SOAK: &str = "\
Each seed draws a cluster of 5 to --nodes, which lives through spells of 10 to 120 s for --seconds (3600). \
In each spell a share of the datagrams is lost, up to --loss (0.3), and they are delayed by up to --late; \
everywhere, or around, to or from some of the nodes; and up to half of the processes stand still once, \
for up to --pause. Nobody crashes and nobody is cut off: every verdict is wrong.

Figures:
  drawn_nodes       how many nodes
  spells            how many
  node_hours        nodes times hours
  wrong_down        wrong verdicts
  wrong_down_about  about how many different nodes
  first_wrong       the first of them: when, whose, about whom";

pub(crate) const CHURN: &str = "\
For --seconds (300), a node departs every --every on average; one half crash, the other half leave; \
each starts anew after up to --away.

Figures:
  crashes, leaves           how many
  wrong_down                wrong verdicts
  wrong_down_per_node_hour  those while nodes came and went
  bytes_per_node_per_s      sent meanwhile
  max_datagram              the longest one
  all_up_after_s            seconds after the last return until every node holds every node live
  differences               differences between views and from the truth in the end";

pub(crate) const DATACENTERS: &str = "\
A cluster over --datacenters (2 by default; node n is in number n modulo that) is measured for --seconds \
(60) at rest, then with --writes; then an ordinary node of the second datacenter crashes, then all its \
bridges at once; then the first datacenter is cut off for --seconds. What crosses is compared with what \
crosses between the same nodes where all are in one datacenter.

Figures:
  formed_s                   when the cluster had formed
  crossing_bytes_per_s       sent from one datacenter to another, by all nodes together, at rest
  crossing_bytes_per_s_in_one  the same where all nodes are in one
  rest_ratio                 how many times less that is
  crossing_bytes_per_write, crossing_bytes_per_write_in_one, write_ratio
                             likewise for each write, beyond what crosses at rest
  here_p99_s, here_max_s     seconds until a node of the writer's datacenter knows
  abroad_p50_s, abroad_p99_s, abroad_max_s
                             until one of another datacenter does
  unfinished                 writes that did not reach everybody in time
  crash_seen_here_s, crash_seen_abroad_s
                             seconds until the last of its own datacenter, or of another, holds the \
crashed node down
  bridges_seen_here_s, bridges_seen_abroad_s
                             likewise for all bridges of a datacenter
  wrong_down_before_cut      wrong verdicts until then
  cut_settled_s              seconds after the cut until all hold the other side down, and none of their \
own, for 15 intervals
  live_share_while_cut       share of pairs that hold each other live then
  wrong_down_while_cut       verdicts about members of the own side
  heal_s                     seconds after healing until every node holds every node live, for 15 intervals
  wrong_down_after_heal      wrong verdicts after that
  live_share_at_end          share of pairs that hold each other live in the end";

pub(crate) const LINKS: &str = "\
Links of a cluster at rest go missing, and stay so. After 300 intervals all views are watched for \
--seconds (300). Which node, pair or links follows from the seed.

Figures:
  changes_before     changes of views within the 300 intervals
  changes            changes after them: there should be none
  views_that_change  how many nodes' views of how many members changed then
  about              about how many members
  last_change_s      seconds after the links went missing until the last change
  live_share_at_end  share of pairs that hold each other live in the end";

pub(crate) const HISTORIES: &str = "\
Each run draws a history of 1 to 6 acts, which follow one another after up to 30 s: many die at one moment, or in \
waves; dead or living nodes are started again; some are apart from the others for 5 to 60 s. Then comes a quiet of \
5 to 130 s. Then one more node dies. At least two others are left, or one of three.

Figures of a run (--seconds: how long to wait, 60 by default; --warm-up: 20 intervals):
  acts, history  how many acts, and what they are
  quiet_s        how long the quiet lasts
  living         nodes that run before the last death
  victim         which of them dies
  watchers       nodes that hold it up then, and were started at least 5 intervals ago
  flaps          how often it has gone down and come up again, in the view of a watcher
  told_first_s, told_last_s
                 seconds from the death until the first and the last watcher tell it
  never          watchers that do not tell it in time
  wrong_down     wrong verdicts on the way

A violation is a death that is told after more than 6 intervals; 12 where the member has flapped twice, and 24 \
where it has flapped more often.

Figures of all runs, in the end (with --json, in a last line of their own):
  median_s, p99_s, greatest_s  of told_last_s
  greatest_seed                the seed of the greatest
  greatest_with_one_flap_s     the greatest, of the runs whose victim has flapped once at most
  runs_untold, seeds_untold    runs in which somebody does not tell it in time";

pub(crate) const SWARM: &str = "\
Each seed draws a cluster of 2 to 30 nodes, its configuration, and episodes: faults of the network, \
of processes and of clocks, writes and deletes, departures and returns, garbage. All faults end; the \
cluster gets time to come to rest; every invariant is checked, on the way and in the end.

A failure is printed with its seed, a smaller plan that still fails, the end of the trace, and the \
command that replays it.

Figures of a seed with --json:
  scenario, seed, nodes, loss, interval_s, runs
  episodes     how many in its plan
  virtual_s    how long it lasted
  rest_s       seconds after the last fault until all was well
  steps        inputs that nodes handled
  violations   how many
  trace        a hash over every datagram, and one over every event";
