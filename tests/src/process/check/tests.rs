//! Mutation check: histories that are damaged on purpose, and the rule that must fire on each.

use std::time::Duration;

use super::check;
use crate::process::history::{Call, End, Final, Finals, Leased, Op, Said};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn op(began: u64, ended: u64, call: Call, end: End) -> Op {
    Op { began: at(began), ended: at(ended), call, end }
}

fn enqueue(tag: &str, key: &str, delay_ms: u64) -> Call {
    Call::Enqueue { tag: tag.into(), key: Some(key.into()), unique: None, delay_ms }
}

fn entered(id: &str) -> End {
    End::Ok(Said::Enqueued { id: id.into(), duplicate: false })
}

fn lease(began: u64, ended: u64, id: &str, tag: &str, token: u64) -> Op {
    let job = Leased { id: id.into(), tag: tag.into(), token, attempt: token };
    op(began, ended, Call::Lease { lease_ms: 1_000 }, End::Ok(Said::Leased(vec![job])))
}

fn ack(began: u64, id: &str, token: u64, end: End) -> Op {
    op(began, began + 5, Call::Ack { id: id.into(), token, result: format!("r{token}") }, end)
}

fn succeeded(tag: &str, result: &str) -> Final {
    Final { tag: tag.into(), state: "succeeded".into(), attempt: 2, result: Some(result.into()) }
}

/// One job whose enqueue was repeated and whose first lease ran out.
fn sound() -> (Vec<Op>, Finals) {
    let ops = vec![
        op(0, 10, enqueue("a", "k", 100), End::Unknown("connection reset".into())),
        op(10, 20, enqueue("a", "k", 100), entered("1")),
        lease(110, 120, "1", "a", 1),
        lease(1_130, 1_140, "1", "a", 2),
        ack(1_150, "1", 1, End::Failed("lease_lost".into())),
        ack(1_160, "1", 2, End::Ok(Said::Done)),
    ];
    (ops, [("1".to_owned(), succeeded("a", "r2"))].into())
}

fn rules(ops: &[Op], finals: &Finals) -> Vec<&'static str> {
    let mut rules: Vec<_> = check(ops, finals).into_iter().map(|violation| violation.rule).collect();
    rules.dedup();
    rules
}

/// The rules that fire once the sound history is damaged.
fn damaged(damage: impl FnOnce(&mut Vec<Op>, &mut Finals)) -> Vec<&'static str> {
    let (mut ops, mut finals) = sound();
    damage(&mut ops, &mut finals);
    rules(&ops, &finals)
}

#[test]
fn a_sound_history_passes() {
    assert_eq!(damaged(|_, _| {}), Vec::<&str>::new());
}

#[test]
fn a_lost_job_is_found() {
    assert_eq!(damaged(|_, finals| finals.clear()), ["lost"]);
}

#[test]
fn a_job_that_nobody_gets_is_found() {
    let stuck = damaged(|ops, finals| {
        ops.truncate(2);
        finals.insert("1".into(), Final { tag: "a".into(), state: "ready".into(), ..Final::default() });
    });
    assert_eq!(stuck, ["never"]);
}

#[test]
fn two_accepted_acks_are_found() {
    assert_eq!(damaged(|ops, _| ops[4].end = End::Ok(Said::Done)), ["two acks"]);
}

#[test]
fn an_ack_that_was_undone_is_found() {
    let undone = damaged(|_, finals| finals.get_mut("1").unwrap().state = "dead".into());
    assert_eq!(undone, ["ack undone"]);
}

#[test]
fn a_refused_ack_that_counted_is_found() {
    let counted = damaged(|ops, finals| {
        ops.pop();
        finals.insert("1".into(), succeeded("a", "r1"));
    });
    assert_eq!(counted, ["from nowhere"]);
}

#[test]
fn a_second_job_of_a_key_is_found_though_no_caller_was_told() {
    let twice = damaged(|_, finals| {
        finals.insert("2".into(), Final { tag: "a".into(), state: "cancelled".into(), ..Final::default() });
    });
    assert_eq!(twice, ["two jobs of one key"]);
}

#[test]
fn a_refused_enqueue_that_was_done_is_found() {
    let done = damaged(|ops, finals| {
        ops.push(op(30, 40, enqueue("b", "l", 0), End::Failed("shed".into())));
        finals.insert("2".into(), Final { tag: "b".into(), state: "cancelled".into(), ..Final::default() });
    });
    assert_eq!(done, ["refused but done"]);
}

#[test]
fn a_token_that_is_given_twice_or_shrinks_is_found() {
    let token = |token| damaged(move |ops, _| ops[3] = lease(1_130, 1_140, "1", "a", token));
    assert!(token(1).contains(&"token twice"));
    assert!(token(0).contains(&"token shrank"));
}

#[test]
fn two_live_leases_are_found_and_one_that_just_ended_is_not() {
    let again = |began| damaged(move |ops, _| ops[3] = lease(began, began + 5, "1", "a", 2));
    assert_eq!(again(600), ["two live leases"]);
    assert_eq!(again(1_110), Vec::<&str>::new());
    // Who gives the job back frees it at once.
    let given_back = damaged(|ops, _| {
        ops[3] = lease(600, 605, "1", "a", 2);
        ops.push(op(500, 510, Call::Nack { id: "1".into(), token: 1 }, End::Unknown(String::new())));
    });
    assert_eq!(given_back, Vec::<&str>::new());
}

#[test]
fn an_extension_keeps_others_away() {
    let extended = damaged(|ops, _| {
        let call = Call::Extend { id: "1".into(), token: 1, lease_ms: 1_000 };
        ops.insert(3, op(900, 910, call, End::Ok(Said::Done)));
    });
    assert_eq!(extended, ["two live leases"]);
}

#[test]
fn a_delivery_before_its_time_is_found() {
    assert_eq!(damaged(|ops, _| ops[2] = lease(50, 60, "1", "a", 1)), ["too early"]);
}

#[test]
fn two_stories_of_cancel_and_ack_are_found() {
    let told = damaged(|ops, _| {
        let end = End::Ok(Said::State("cancelled".into()));
        ops.push(op(1_200, 1_210, Call::Cancel { id: "1".into() }, end));
    });
    assert_eq!(told, ["two stories"]);
}
