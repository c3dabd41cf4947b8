//! Metadata follows what lives.

use super::*;

/// Members come, write some keys each, and go; what they wrote is deleted.
fn churn(members: u64, keys: u64) -> Map {
    let mut a = map(0);
    for n in 1..=members {
        let mut guest = Map::new(origin(n, n), "", 0);
        for m in 0..keys {
            let text = (n * keys + m).to_string();
            guest.put(at(n), &key(&text), Put::value(b"v", Policy::LastWriteWins));
        }
        learn(&mut a, &guest);
        for m in 0..keys {
            delete(&mut a, n, &(n * keys + m).to_string());
        }
        a.tick(UnixTime::from_millis(n));
        a.collect(Duration::from_millis(50));
        let logs: Vec<Origin> = a.frontiers().map(|log| log.origin).collect();
        for origin in logs {
            a.close(origin);
        }
        a.prune(PruneLimits {
            after: Duration::from_millis(1_000),
            empty_logs: 32,
            pruned_origins: 32,
        });
        assert!(a.empty_logs() <= 36, "{}", a.empty_logs());
        assert!(
            a.pruned_origins().count() <= 37,
            "{}",
            a.pruned_origins().count()
        );
        assert!(a.logs() <= 36 + 60, "{}", a.logs());
        let living = usize::try_from(60 * keys).unwrap();
        assert!(a.writes() <= living, "{}", a.writes());
        assert!(a.bytes() < living * 100, "{}", a.bytes());
    }
    a
}

#[test]
fn memory_follows_what_lives_whatever_comes_and_goes() {
    churn(2_000, 2);
}

/// On demand, and best with `--release`: 10,000 members and 100,000 keys.
#[test]
#[ignore = "a while: cargo test --release -p gossip-core --lib memory_follows -- --include-ignored"]
fn memory_follows_what_lives_with_ten_thousand_members_and_a_hundred_thousand_keys() {
    let a = churn(10_000, 10);
    std::println!(
        "logs {}, ghosts {}, graves {}, writes {}, bytes {}",
        a.logs(),
        a.empty_logs(),
        a.pruned_origins().count(),
        a.writes(),
        a.bytes()
    );
}
