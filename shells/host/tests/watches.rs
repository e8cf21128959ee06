//! Watched directories, with real ones: whatever happens to the path, whoever waits is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as its tests do")]

use std::fs;
use std::future::Future;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use outrigger_host::{Changes, Watches};
use tempfile::TempDir;
use tokio::time::timeout;

/// Long enough for a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(20);

/// Told to the process that the kernel refuses inotify.
const REFUSED: &str = "WATCHES_REFUSED";

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// A directory, and watches that would be noticed if they polled.
fn start() -> (TempDir, Watches) {
    (tempfile::tempdir().unwrap(), Watches::polling_every(Duration::from_secs(3600)))
}

async fn expect_change(changes: &mut Changes, why: &str) {
    assert!(timeout(SOON, changes.changed()).await.is_ok(), "not told: {why}");
}

/// Nothing is left to tell. The queue of the kernel is empty when a later change is the only one.
async fn expect_silence(changes: &mut Changes, why: &str) {
    assert!(timeout(Duration::from_millis(50), changes.changed()).await.is_err(), "told: {why}");
}

#[test]
fn an_entry_that_comes_goes_or_is_renamed_is_told_once() {
    run(async {
        let (place, watches) = start();
        let mut changes = watches.directory(place.path());
        for name in 0..100 {
            fs::write(place.path().join(name.to_string()), "").unwrap();
        }
        expect_change(&mut changes, "100 files").await;
        expect_silence(&mut changes, "the same files").await;
        fs::rename(place.path().join("1"), place.path().join("other")).unwrap();
        expect_change(&mut changes, "a renamed file").await;
        fs::remove_file(place.path().join("2")).unwrap();
        expect_change(&mut changes, "a removed file").await;
        fs::set_permissions(place.path().join("3"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        expect_change(&mut changes, "a mode").await;
        assert!(!watches.is_polling());
    });
}

#[test]
fn only_those_who_ask_for_contents_hear_of_writing() {
    run(async {
        let (place, watches) = start();
        fs::write(place.path().join("file"), "a").unwrap();
        let (mut names, mut contents) = (watches.directory(place.path()), watches.contents(place.path()));
        fs::write(place.path().join("file"), "b").unwrap();
        expect_change(&mut contents, "a written file").await;
        expect_silence(&mut names, "a written file").await;
    });
}

#[test]
fn a_directory_that_does_not_exist_yet_is_told_when_it_comes_with_all_its_parents() {
    run(async {
        let (place, watches) = start();
        let path = place.path().join("serial/by-id");
        let mut changes = watches.directory(&path);
        fs::write(place.path().join("unrelated"), "").unwrap();
        expect_silence(&mut changes, "another entry of the parent").await;
        fs::create_dir_all(&path).unwrap();
        expect_change(&mut changes, "the directory").await;
        fs::write(path.join("radio"), "").unwrap();
        expect_change(&mut changes, "a file in it").await;
    });
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_followed() {
    run(async {
        let (place, watches) = start();
        let path = place.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        // Somebody is in it, so that the kernel keeps the removed one.
        let _open = fs::File::open(&path).unwrap();
        let mut changes = watches.directory(&path);
        for _ in 0..10 {
            fs::remove_dir_all(place.path().join("a")).unwrap();
            expect_change(&mut changes, "the removal").await;
            fs::create_dir_all(&path).unwrap();
            expect_change(&mut changes, "the directory made again").await;
            fs::write(path.join("file"), "").unwrap();
            expect_change(&mut changes, "a file in the new one").await;
        }
    });
}

#[test]
fn a_directory_that_is_renamed_away_is_not_followed() {
    run(async {
        let (place, watches) = start();
        let (path, away) = (place.path().join("a"), place.path().join("away"));
        fs::create_dir(&path).unwrap();
        let mut changes = watches.directory(&path);
        fs::rename(&path, &away).unwrap();
        expect_change(&mut changes, "the renaming").await;
        fs::write(away.join("file"), "").unwrap();
        expect_silence(&mut changes, "a file of the one that is elsewhere now").await;
        fs::create_dir(&path).unwrap();
        expect_change(&mut changes, "another directory of that name").await;
    });
}

/// As the kubelet updates a volume of a config map: `pkg/volume/util/atomic_writer.go`.
fn swap_data(volume: &Path, version: &str) {
    fs::create_dir(volume.join(version)).unwrap();
    fs::write(volume.join(version).join("devices.yaml"), version).unwrap();
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

#[test]
fn a_config_map_that_changes_is_told_in_the_volume_and_through_the_link() {
    run(async {
        let (place, watches) = start();
        swap_data(place.path(), "..1");
        symlink("..data/devices.yaml", place.path().join("devices.yaml")).unwrap();
        let mut volume = watches.contents(place.path());
        let mut data = watches.contents(place.path().join("..data"));
        for version in ["..2", "..3"] {
            swap_data(place.path(), version);
            expect_change(&mut volume, "the volume").await;
            expect_change(&mut data, "what the link names").await;
            assert_eq!(fs::read_to_string(place.path().join("devices.yaml")).unwrap(), version);
            expect_silence(&mut data, "the same swap").await;
        }
        fs::remove_dir_all(place.path().join("..2")).unwrap();
        expect_silence(&mut data, "what the link does not name any more").await;
        fs::write(place.path().join("..3/more"), "").unwrap();
        expect_change(&mut data, "a file behind the link").await;
    });
}

#[test]
fn a_link_on_the_way_that_is_swapped_is_followed() {
    run(async {
        let (place, watches) = start();
        for version in ["1", "2"] {
            fs::create_dir_all(place.path().join(version).join("by-id")).unwrap();
        }
        symlink("1", place.path().join("now")).unwrap();
        let mut changes = watches.directory(place.path().join("now/by-id"));
        symlink("2", place.path().join("next")).unwrap();
        fs::rename(place.path().join("next"), place.path().join("now")).unwrap();
        expect_change(&mut changes, "the swapped link").await;
        fs::write(place.path().join("2/by-id/radio"), "").unwrap();
        expect_change(&mut changes, "a file behind it").await;
        fs::write(place.path().join("1/by-id/radio"), "").unwrap();
        expect_silence(&mut changes, "a file where it led before").await;
    });
}

#[test]
fn a_link_that_leads_nowhere_is_looked_at_by_the_clock() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let watches = Watches::polling_every(Duration::from_millis(5));
        symlink(place.path().join("later/on"), place.path().join("link")).unwrap();
        let mut changes = watches.directory(place.path().join("link"));
        assert!(watches.is_polling());
        fs::create_dir_all(place.path().join("later/on")).unwrap();
        expect_change(&mut changes, "what the link names").await;
        fs::write(place.path().join("later/on/file"), "").unwrap();
        expect_change(&mut changes, "a file in it").await;
        assert!(!watches.is_polling(), "the kernel can tell now");
    });
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// The inodes that this process watches: lines `inotify wd:1 ino:3d0c4 sdev:…` (`proc_pid_fdinfo(5)`).
fn watched() -> Vec<u64> {
    let descriptors = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let told = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok()).collect::<String>();
    let inodes = told.lines().filter(|line| line.starts_with("inotify ")).filter_map(|line| {
        let inode = line.split(' ').find_map(|word| word.strip_prefix("ino:"))?;
        u64::from_str_radix(inode, 16).ok()
    });
    inodes.collect()
}

#[test]
fn one_instance_serves_many_and_an_ended_watch_leaves_nothing() {
    run(async {
        let (place, watches) = start();
        let instances = || {
            let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
            descriptors.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("anon_inode:inotify"))).count()
        };
        let before = instances();
        let mut all: Vec<Changes> = Vec::new();
        // The last is not there yet.
        (0..9).for_each(|number| fs::create_dir(place.path().join(number.to_string())).unwrap());
        let ended: Vec<u64> = (0..9).map(|number| inode(&place.path().join(number.to_string()))).collect();
        for number in 0..10 {
            all.push(watches.clone().directory(place.path().join(number.to_string())));
        }
        // Other tests of this process have instances of their own.
        assert!(instances() <= before + 8, "{} instances", instances());
        let mut kept = all.pop().unwrap();
        assert!(ended.iter().all(|inode| watched().contains(inode)), "{ended:?} of {:?}", watched());
        drop(all);
        assert!(!ended.iter().any(|inode| watched().contains(inode)), "{ended:?} of {:?}", watched());
        fs::create_dir(place.path().join("9")).unwrap();
        expect_change(&mut kept, "the one that is left").await;
    });
}

#[test]
fn readers_on_several_threads_are_all_told() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let (place, watches) = start();
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let mut changes = watches.directory(place.path());
            let until = place.path().join("199");
            readers.spawn(async move {
                while !until.exists() {
                    expect_change(&mut changes, "a file").await;
                }
            });
        }
        for name in 0..200 {
            fs::write(place.path().join(name.to_string()), "").unwrap();
            tokio::task::yield_now().await;
        }
        while let Some(reader) = readers.join_next().await {
            reader.unwrap();
        }
    });
}

/// Both halves of [`without_inotify_everything_is_still_told`] run here, in a process that may have no instance at first.
#[test]
fn where_the_kernel_refuses() {
    let Some(limit) = std::env::var_os(REFUSED) else { return };
    run(async move {
        let place = tempfile::tempdir().unwrap();
        let watches = Watches::polling_every(Duration::from_millis(5));
        let mut changes = watches.contents(place.path().join("a"));
        assert!(watches.is_polling(), "the kernel did not refuse");
        fs::create_dir(place.path().join("a")).unwrap();
        expect_change(&mut changes, "the directory").await;
        fs::write(place.path().join("a/file"), "text").unwrap();
        expect_change(&mut changes, "a file").await;
        fs::write(place.path().join("a/file"), "longer text").unwrap();
        expect_change(&mut changes, "its text").await;
        expect_silence(&mut changes, "nothing").await;
        fs::write(&limit, "100").unwrap();
        while watches.is_polling() {
            let _ = timeout(Duration::from_millis(10), changes.changed()).await;
        }
        fs::remove_file(place.path().join("a/file")).unwrap();
        expect_change(&mut changes, "the removed file, told by the kernel").await;
        println!("all was told");
    });
}

#[test]
fn without_inotify_everything_is_still_told() {
    const LIMIT: &str = "/proc/sys/user/max_inotify_instances";
    let program = std::env::current_exe().unwrap();
    let script = format!("echo 0 > {LIMIT} && exec \"$0\" --exact where_the_kernel_refuses --nocapture");
    let mut child = Command::new("unshare");
    child.args(["--user", "--map-root-user", "sh", "-c", &script]).arg(program).env(REFUSED, LIMIT);
    let output = child.output().unwrap();
    let (said, faults) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if faults.contains("unshare failed") {
        println!("left out: needs user namespaces");
        assert!(std::env::var_os("CI").is_none(), "CI has user namespaces");
        return;
    }
    assert!(said.contains("all was told"), "{said}{faults}");
}
