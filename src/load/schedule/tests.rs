use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::deadline::{TimeBudget, share};

/// What it takes to cancel a statement and connect again, over TLS.
const RECONNECT: Duration = Duration::from_millis(60);
const STATEMENT: Duration = Duration::from_millis(10);

/// Batch size and timeout of the profiles, and of other settings that occur.
const PROFILES: [(usize, u64); 5] = [(10, 15), (100, 5), (100, 30), (1_000, 30), (1_000, 60)];

/// Which messages of a batch are stored if some rows are locked all the time. A message with the lane of one that
/// failed is blocked, as in a FIFO group.
fn stored(
    (messages, seconds): (usize, u64),
    locked: &[usize],
    groups: Option<usize>,
) -> BTreeSet<usize> {
    let time = TimeBudget::until(seconds * 1_000);
    let mut left = time
        .stop_at
        .saturating_duration_since(tokio::time::Instant::now());
    let group = |message: usize| groups.map(|groups| message % groups);
    let lanes = || {
        (0..messages)
            .map(|message| group(message).into_iter().collect())
            .collect()
    };
    let mut schedule = Schedule::new(vec![(0..messages).collect()], lanes);
    let (mut stored, mut blocked) = (BTreeSet::new(), BTreeSet::new());
    while let Some(mut part) = schedule.next() {
        part.messages
            .retain(|&message| group(message).is_none_or(|group| !blocked.contains(&group)));
        if !part.messages.iter().any(|message| locked.contains(message)) {
            left = left.saturating_sub(STATEMENT);
            stored.extend(part.messages);
            continue;
        }
        let tried = share(left, part.shares());
        if tried == left {
            break;
        }
        left = left.saturating_sub(tried + RECONNECT);
        if let [message] = part.messages[..] {
            blocked.extend(group(message));
            schedule.timed_out();
        } else {
            schedule.halve(part, true);
        }
    }
    stored
}

fn all_but(messages: usize, locked: &[usize]) -> BTreeSet<usize> {
    let all = 0..messages;
    all.filter(|message| !locked.contains(message)).collect()
}

#[test]
fn a_locked_row_costs_only_itself_at_every_position_in_every_profile() {
    for profile in PROFILES {
        for locked in 0..profile.0 {
            assert_eq!(
                stored(profile, &[locked], None),
                all_but(profile.0, &[locked]),
                "{profile:?}, {locked} is locked"
            );
        }
    }
}

#[test]
fn two_locked_rows_cost_only_themselves_except_in_5_seconds() {
    for profile in PROFILES.into_iter().filter(|(_, seconds)| *seconds > 5) {
        let step = profile.0.div_ceil(25);
        for first in (0..profile.0).step_by(step) {
            for second in (first + 1..profile.0).step_by(step) {
                assert_eq!(
                    stored(profile, &[first, second], None),
                    all_but(profile.0, &[first, second]),
                    "{profile:?}, {first} and {second} are locked"
                );
            }
        }
    }
}

/// How many are stored of those that could be, with as many locked rows as this, at random.
fn least_stored(profile: (usize, u64), locked: usize) -> usize {
    let trial = |_| {
        let locked: Vec<_> = (0..locked).map(|_| fastrand::usize(..profile.0)).collect();
        stored(profile, &locked, None).len()
    };
    (0..20).map(trial).min().unwrap()
}

#[test]
fn many_locked_rows_leave_time_for_most_of_the_others() {
    assert!(least_stored((10, 15), 3) >= 6);
    assert!(least_stored((100, 5), 2) >= 80);
    assert!(least_stored((100, 30), 10) >= 50);
    assert!(least_stored((1_000, 60), 10) >= 850);
}

#[test]
fn of_the_group_of_a_locked_row_only_what_comes_before_it_is_stored() {
    for (profile, groups) in [((10, 15), 1), ((10, 15), 3), ((100, 30), 1), ((100, 30), 7)] {
        for locked in 0..profile.0 {
            let is_behind =
                |message: usize| message >= locked && message % groups == locked % groups;
            let behind: Vec<_> = (0..profile.0)
                .filter(|&message| is_behind(message))
                .collect();
            assert_eq!(
                stored(profile, &[locked], Some(groups)),
                all_but(profile.0, &behind),
                "{profile:?}, {locked} of {groups} groups is locked"
            );
        }
    }
}

#[test]
fn no_message_overtakes_one_of_its_lane() {
    const MESSAGES: usize = 60;
    const LANES: usize = 8;
    for _ in 0..300 {
        let lanes = || (0..2).map(|_| fastrand::usize(..LANES)).collect();
        let lanes: Lanes = (0..MESSAGES).map(|_| lanes()).collect();
        let parts = (0..MESSAGES).collect::<Vec<_>>();
        let parts = parts
            .chunks(fastrand::usize(1..=MESSAGES))
            .map(<[_]>::to_vec);
        let mut schedule = Schedule::new(parts.collect(), || lanes.clone());
        let mut last = [0; LANES];
        let mut done = 0;
        while let Some(part) = schedule.next() {
            for &message in &part.messages {
                let lanes = &lanes[message];
                assert!(lanes.iter().all(|&lane| last[lane] <= message), "{message}");
            }
            match (fastrand::u32(..4), part.messages.len()) {
                (0, 2..) => schedule.halve(part, true),
                (1, 2..) => schedule.halve(part, false),
                (2, 1) if !part.is_hopeless() => schedule.postpone(part),
                _ => {
                    for &message in &part.messages {
                        lanes[message].iter().for_each(|&lane| last[lane] = message);
                    }
                    done += part.messages.len();
                    schedule.stored();
                }
            }
        }
        assert_eq!(done, MESSAGES);
    }
}
