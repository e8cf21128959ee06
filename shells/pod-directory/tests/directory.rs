//! The state directory as its users see it: names, runs, locks, what is kept, recorded formats.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in test functions only, not in their helpers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_pod_directory::{
    DirectoryError, End, Ending, KeepRules, Kind, ObjectName, OwnedRun, PodSpec, RunDirectory, RunnerIdentity,
    RunnerLife, StateDirectory, StatusFile,
};
use serde_json::{Map, json};

fn web() -> ObjectName {
    "web".parse().unwrap()
}

fn spec() -> PodSpec {
    PodSpec {
        pod: json!({"metadata": {"name": "web"}}),
        launcher: "host".into(),
        created_at: Time(Timestamp::UNIX_EPOCH),
        job: None,
        keep: false,
        options: Map::new(),
    }
}

fn status(end: Option<Timestamp>) -> StatusFile {
    StatusFile {
        status: PodStatus { phase: Some("Succeeded".into()), ..PodStatus::default() },
        record: json!({}),
        stands: false,
        runner: RunnerIdentity::this(),
        control: None,
        not_executed: [].into(),
        given: [].into(),
        notes: Vec::new(),
        end: end.map(|at| End { at: Time(at), why: Ending::Finished }),
    }
}

/// Makes a run and ends it at `at`.
fn ended_run(state: &StateDirectory, spec: &PodSpec, at: Timestamp) {
    let run = state.create_pod(&web(), spec).unwrap();
    run.write_status(&status(Some(at)), true).unwrap();
}

fn numbers(state: &StateDirectory) -> Vec<u32> {
    state.runs(Kind::Pod, &web()).unwrap().iter().map(RunDirectory::number).collect()
}

#[test]
fn a_second_run_of_a_name_is_refused_until_the_first_has_ended() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path());
    let first: OwnedRun = state.create_pod(&web(), &spec()).unwrap();
    assert_eq!(first.directory().life().unwrap(), RunnerLife::Alive);
    let refusal = state.create_pod(&web(), &spec()).unwrap_err();
    assert!(matches!(refusal, DirectoryError::Runs { run: 1, .. }));
    assert_eq!(refusal.to_string(), "pod web runs already (run 1); stop it first, or give this one another name");
    state.create_pod(&"lab/web".parse().unwrap(), &spec()).unwrap();

    let directory = first.directory().clone();
    drop(first);
    assert_eq!(directory.life().unwrap(), RunnerLife::Dead);
    assert_eq!(state.create_pod(&web(), &spec()).unwrap().directory().number(), 2);
    assert_eq!(state.latest(Kind::Pod, &web()).unwrap().number(), 2);
    assert_eq!(state.list(Kind::Pod).unwrap().len(), 3);
}

/// Others look at the same pods at any moment, as with `ps`.
#[test]
fn a_run_is_taken_over_and_removed_while_others_look_whether_its_runner_lives() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path());
    for _ in 0..100 {
        let run = state.create_pod(&web(), &spec()).unwrap().directory().clone();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    run.life().unwrap();
                }
            });
            let is_taken = run.take_over().map(|taken| taken.is_some());
            let removed = run.remove();
            over.store(true, Ordering::Relaxed);
            assert!(is_taken.unwrap());
            removed.unwrap();
        });
        assert!(!run.path().exists());
    }
}

#[test]
fn a_dead_runners_directory_is_taken_over_once() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path());
    let run = state.create_pod(&web(), &spec()).unwrap();
    let directory = run.directory().clone();
    assert!(directory.take_over().unwrap().is_none(), "its runner lives");
    drop(run);
    let taken = directory.take_over().unwrap().expect("its runner is dead");
    assert!(directory.take_over().unwrap().is_none(), "somebody has taken it over");
    drop(taken);
}

#[test]
fn files_and_directories_are_the_owners_only() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path().join("deep/state"));
    let run = state.create_pod(&web(), &spec()).unwrap();
    run.write_status(&status(None), true).unwrap();
    let mut seen = 0;
    let mut check = |path: &Path| {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        seen += 1;
    };
    for above in run.directory().path().ancestors().take_while(|path| *path != place.path()) {
        check(above);
    }
    for entry in fs::read_dir(run.directory().path()).unwrap() {
        check(&entry.unwrap().path());
    }
    assert_eq!(seen, 10, "six directories; spec.json, status.json, lock and the room for the next status.json");
}

#[test]
fn the_last_three_runs_stay_for_seven_days_unless_they_are_to_be_kept() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path());
    let day = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
    ended_run(&state, &PodSpec { keep: true, ..spec() }, day(1));
    for at in 2..6 {
        ended_run(&state, &spec(), day(at));
    }
    assert_eq!(state.prune(KeepRules::default(), day(6)).unwrap().len(), 1);
    assert_eq!(numbers(&state), [1, 3, 4, 5]);
    state.prune(KeepRules::default(), day(11)).unwrap();
    assert_eq!(numbers(&state), [1, 5]);
    state.run(Kind::Pod, &web(), 1).unwrap().set_keep(false).unwrap();
    state.prune(KeepRules { age: Duration::ZERO, runs: 3 }, day(11)).unwrap();
    assert_eq!(numbers(&state), [] as [u32; 0]);
    assert!(state.names(Kind::Pod).unwrap().is_empty());
    assert_eq!(state.create_pod(&web(), &spec()).unwrap().directory().number(), 1);
}

#[test]
fn a_run_that_lasts_or_whose_end_is_unknown_is_never_pruned() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path());
    drop(state.create_pod(&web(), &spec()).unwrap());
    let lasting = state.create_pod(&web(), &spec()).unwrap();
    lasting.write_status(&status(Some(Timestamp::UNIX_EPOCH)), false).unwrap();
    state.prune(KeepRules { age: Duration::ZERO, runs: 0 }, Timestamp::now()).unwrap();
    assert_eq!(numbers(&state), [1, 2]);
}

#[test]
fn a_name_whose_runs_are_removed_leaves_nothing_also_while_others_make_runs_of_it() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path());
    let of_name = place.path().join("pods/default/web");
    ended_run(&state, &spec(), Timestamp::UNIX_EPOCH);
    fs::create_dir(of_name.join(".new")).unwrap();
    state.remove(Kind::Pod, &web()).unwrap();
    assert!(!of_name.exists());

    let lasting = state.create_pod(&web(), &spec()).unwrap();
    state.remove(Kind::Pod, &web()).unwrap();
    assert_eq!(lasting.directory().life().unwrap(), RunnerLife::Alive);
    drop(lasting);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    match state.create_pod(&web(), &spec()) {
                        // A run that its runner holds is there, whatever others remove.
                        Ok(run) => assert!(run.directory().spec_file().exists()),
                        Err(refused) => assert!(matches!(refused, DirectoryError::Runs { .. }), "{refused:?}"),
                    }
                    state.remove(Kind::Pod, &web()).unwrap();
                }
            });
        }
    });
    state.remove(Kind::Pod, &web()).unwrap();
    assert!(!of_name.exists());
}

#[test]
fn no_name_leads_out_of_the_directory() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path());
    let run = state.create_pod(&web(), &spec()).unwrap();
    assert!(run.directory().logs("../../spec.json").is_err());
    assert!(run.directory().logs("..").is_err());
    assert!(ObjectName::new("..", "web").is_err());
}

#[test]
fn a_newer_format_is_refused_and_a_damaged_file_is_named() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path());
    let run = state.create_pod(&web(), &spec()).unwrap();
    let path = run.directory().status_file();
    fs::write(&path, r#"{"format": 9, "anything": 1}"#).unwrap();
    let newer = run.directory().status().unwrap_err();
    assert!(matches!(newer, DirectoryError::NewerFormat { found: 9, .. }));
    fs::write(&path, r#"{"format": 1, "#).unwrap();
    assert!(matches!(run.directory().status().unwrap_err(), DirectoryError::Damaged { .. }));
}

#[test]
fn the_recorded_samples_are_read() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path());
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/1");
    let run = state.create_pod(&web(), &spec()).unwrap();
    for file in ["spec.json", "status.json"] {
        fs::copy(samples.join(file), run.directory().path().join(file)).unwrap();
    }
    let spec = run.directory().pod_spec().unwrap();
    assert_eq!(spec.job.as_deref(), Some("render"));
    assert_eq!(spec.options["timeout"], json!("5m"));
    let status = run.directory().status().unwrap().expect("there is one");
    assert_eq!(status.not_executed["main"], 127);
    assert_eq!(status.notes[0].count, 3);
    assert_eq!(status.end.map(|end| end.why), Some(Ending::RunnerDied));
}
