//! What the command line takes and refuses.

use clap::{CommandFactory, Parser};

use super::*;
use crate::global::Format;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("bravo").chain(line.split_whitespace()))
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_go_anywhere() {
    let cli = parse("--server http://a:1,http://b:1 job get j0-1 --output json --server http://c:1 --key k");
    assert!(cli.is_err() || cli.is_ok_and(|cli| cli.global.servers.len() == 1), "clap keeps the innermost list");
    let cli = parse("job get j0-1 --output json --server http://a:1 --server http://b:1,http://c:1 --key k").unwrap();
    assert_eq!(cli.global.servers, ["http://a:1", "http://b:1", "http://c:1"]);
    assert_eq!(cli.global.output, Format::Json);
    assert_eq!(cli.global.key.as_deref(), Some("k"));
    assert!(cli.global.client().is_err() || cli.global.builder().is_ok());
}

#[test]
fn every_command_of_the_contract_is_taken() {
    for line in [
        "job enqueue --queue q",
        "job enqueue --queue q --payload {} --project p --priority 9 --delay-ms 5 --unique-key u --order-key o",
        "job enqueue --queue q --run-at 2026-11-24T18:13:31Z --ttl-ms 5 --metadata {}",
        "job enqueue --queue q --lines",
        "job enqueue --queue q --lines --json-lines",
        "job enqueue --queue q --file -",
        "job list --queue q --state dead --limit 5 --cursor c",
        "job cancel j0-1",
        "job retry j0-1",
        "job why j0-1",
        "queue put q --max-attempts 3 --rate-per-second 2.5 --rate-burst 3 --fairness-weight a=b=3",
        "queue get q",
        "queue list",
        "queue pause q",
        "queue resume q",
        "queue drain q",
        "queue purge q",
        "queue redrive q",
        "queue delete q",
        "scaling backtest --from trace.csv",
        "scaling backtest --from trace.csv --svg trace.svg --peak 0 --service-mean 5 --boot 30 --min 1 --max 9 --seed 2",
        "scaling backtest --from-history codegen --svg trace.svg",
        "scaling history export codegen",
        "scaling history import codegen past.csv --tick-ms 15000 --service-ms 4000 --boot-ms 9000",
        "template apply a.json deploy/templates",
        "template list --q shop --limit 5 --cursor c",
        "template get crud --version 3",
        "template delete crud",
        "template preview crud --input {} --version 2",
        "workflow start --name n --project p --template crud --input {}",
        "workflow start --name n --requirements {}",
        "workflow start --name n --tasks -",
        "workflow get w0-1",
        "workflow list --status running --project p --template crud --limit 5 --cursor c",
        "workflow cancel w0-1",
        "workflow pause w0-1",
        "workflow resume w0-1",
        "workflow retry w0-1",
        "workflow signal w0-1 paid {}",
        "workflow signal w0-1 paid",
        "workflow approve w0-1 review --reject",
        "workflow watch w0-1",
        "schedule put s --cron @daily --timezone Europe/Berlin --overlap queue --catch-up-ms 5 --job {}",
        "schedule put s --cron @daily --workflow {}",
        "schedule get s",
        "schedule list",
        "schedule pause s",
        "schedule resume s",
        "schedule delete s",
        "webhook put w --url https://example.org/ --event job.dead --event workflow.* --project p --queue q --disabled --secret -",
        "webhook get w --project p",
        "webhook list --project p",
        "webhook delete w",
        "events --queue q --project p --cursor c --max 3",
        "workflow add-tasks w0-1 --lease-token 3 --job j0-1 --task t --tasks -",
        "artifact put p a/b.txt - --content-type text/plain",
        "artifact get p a/b.txt --version 2 -o out.txt",
        "artifact list p --prefix a/ --limit 5 --cursor c",
        "artifact delete p a/b.txt",
        "cluster status",
        "cluster digest",
        "cluster add --id 4 --peer a:1 --public a:2",
        "cluster remove 4",
        "cluster transfer --partition 3 --to 1",
        "cluster transfer --partition meta --to 1",
        "certs init DIR",
        "certs node DIR --id 1 --host 127.0.0.1 --host a",
        "certs server DIR --host a",
        "certs client DIR --name ci --project p --roles enqueue,work",
        "--ca ca.pem --cert a.pem --cert-key a.key cluster status",
        "worker --queue q --exec true --concurrency 4 --lease-ms 1000",
        "worker --queue q --exec true --label gpu=yes --label zone=a --weight 2 --type trainer",
        "job enqueue --queue q --payload 1 --require gpu=yes --sticky-key model-7",
        "demo",
        "demo --apps 3 --nodes 5 --hold --output json",
        "demo apps --keep DIR --bravod FILE --agent FILE",
        "demo files DIR --workers 8 --seconds 5",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn bad_usage_is_2() {
    for line in [
        "",
        "nothing",
        "job enqueue",
        "job enqueue --queue q --priority 10",
        "job enqueue --queue q --payload 1 --lines",
        "job enqueue --queue q --json-lines",
        "job enqueue --queue q --run-at soon",
        "job get j0-1 --output xml",
        "cluster transfer --partition x --to 1",
        "queue put q --rate-burst 3",
        "queue put q --fairness-weight a",
        "template apply",
        "template get crud --version x",
        "certs node DIR --id 1",
        "certs client DIR --name ci",
        "--cert a.pem cluster status",
        "worker --queue q",
    ] {
        let Err(error) = parse(line) else { panic!("{line} was taken") };
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn errors_have_their_exit_codes() {
    use bravo_client::{Code, Error, Refusal};
    assert!(matches!(Failure::from(Error::Refused(Refusal::new(Code::NotFound, ""))), Failure::No(_)));
    assert!(matches!(Failure::from(Error::Invalid(String::new())), Failure::Usage(_)));
    assert!(matches!(Failure::from(Error::Unreachable(String::new())), Failure::Unreachable(_)));
    assert!(matches!(Failure::from(Error::TimedOut(String::new())), Failure::Unreachable(_)));
}
