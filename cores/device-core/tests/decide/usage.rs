//! Disks that are in use are never offered, and the reason is one that an operator understands.

use outrigger_device_core::picture::{BlockDevice, Picture, Seen, Swap, Usage};
use outrigger_device_core::rules::{BlockRule, EvidencePolicy, Rules, Select, Transport};

use crate::values::{any_disk, disk, disks, first, group, missing, mount, offered, one, partition, why};

fn with(change: impl FnOnce(&mut BlockDevice)) -> Picture {
    let mut sdb = disk("sdb");
    change(&mut sdb);
    disks(vec![sdb])
}

#[test]
fn each_way_of_use_has_its_words() {
    let rules = one(any_disk());
    let free = disks(vec![disk("sdb")]);
    assert_eq!(why(&first(&rules, &free), "sdb"), "offered");
    let mounted = |source: &str, target: &str| {
        let sdb = disk("sdb");
        let mounts = Seen::Known(vec![mount(sdb.number, source, target)]);
        Picture { mounts, ..disks(vec![sdb]) }
    };
    let cases = [
        (mounted("/dev/sdb", "/srv"), "mounted at /srv (ext4)"),
        (mounted("/dev/sdb", "/"), "system disk: / on sdb"),
        (with(|it| it.holders = vec!["md0".into()]), "held by md0"),
        (with(|it| it.partitions = vec![partition(it, 1), partition(it, 2)]), "partitioned: sdb1, sdb2"),
        (with(|it| it.read_only = true), "read only"),
        (with(|it| it.size = 0), "no medium"),
        (with(|it| it.hidden = true), "hidden by the kernel: a path of a multipath device"),
        (
            with(|it| it.usage.kernel_file_system = Some("xfs".into())),
            "mounted somewhere, perhaps in a container (xfs)",
        ),
        (with(|it| it.usage.exclusive = Seen::Known(true)), "in use: a process of the host has opened it for itself"),
        (Picture { swaps: Seen::Known(vec![Swap { path: "/dev/sdb".into(), number: None }]), ..free.clone() }, "swap"),
        (Picture { mounts: missing(), ..free }, "cannot verify: mounts of the host are not visible (not mounted here)"),
    ];
    for (picture, reason) in cases {
        let decision = first(&rules, &picture);
        assert_eq!(why(&decision, "sdb"), format!("withheld: {reason}"));
        assert!(offered(&decision).is_empty());
    }
}

#[test]
fn a_whole_disk_is_in_use_where_a_partition_of_it_is() {
    let mut sda = disk("sda");
    let mut first_one = partition(&sda, 1);
    first_one.usage.kernel_file_system = Some("ext4".into());
    let mut second = partition(&sda, 2);
    second.holders = vec!["dm-0".into()];
    let numbers = (first_one.number, second.number);
    sda.partitions = vec![first_one, second];
    let mut volume = disk("dm-0");
    (volume.transport, volume.slaves) = (Transport::DeviceMapper, vec!["sda2".into()]);
    let mounts = vec![mount(numbers.0, "/dev/sda1", "/data"), mount(volume.number, "/dev/mapper/vg-root", "/")];
    let picture = Picture { mounts: Seen::Known(mounts), ..disks(vec![sda, volume]) };
    let decision = first(&one(any_disk()), &picture);
    let reasons = "system disk: / on dm-0; mounted at /data (ext4) on sda1; held by dm-0; partitioned: sda1, sda2";
    assert_eq!(why(&decision, "sda"), format!("withheld: {reasons}"));
    assert_eq!(why(&decision, "dm-0"), "unmatched", "a volume is no real disk");
}

#[test]
fn a_file_system_of_many_devices_is_found_by_its_source() {
    // btrfs has numbers of its own in the mount table.
    let sdb = disk("sdb");
    let mounts = vec![mount(crate::values::number(0, 42), "/dev/sdb", "/pool")];
    let picture = Picture { mounts: Seen::Known(mounts), ..disks(vec![sdb]) };
    assert_eq!(why(&first(&one(any_disk()), &picture), "sdb"), "withheld: mounted at /pool (ext4)");
}

#[test]
fn an_exclusive_open_that_succeeds_needs_no_tables() {
    let mut picture = with(|it| it.usage.exclusive = Seen::Known(false));
    (picture.mounts, picture.swaps) = (missing(), missing());
    assert_eq!(why(&first(&one(any_disk()), &picture), "sdb"), "offered");
}

#[test]
fn a_replaced_program_offers_what_sysfs_shows_as_free_and_counts_what_it_could_not_see() {
    let rules = Rules { evidence: EvidencePolicy::Sysfs, ..one(any_disk()) };
    let picture = Picture { mounts: missing(), ..disks(vec![disk("sdb")]) };
    let decision = first(&rules, &picture);
    assert_eq!(offered(&decision), ["sdb"]);
    assert_eq!(decision.missing.into_iter().collect::<Vec<_>>(), ["mounts"]);
    // What sysfs shows is withheld all the same.
    let mounted = with(|it| it.usage.kernel_file_system = Some("ext4".into()));
    assert!(offered(&first(&rules, &mounted)).is_empty());
}

#[test]
fn an_empty_disk_is_one_that_carries_nothing_for_certain() {
    let rules = one(group(Select::Block(BlockRule { empty: true, ..BlockRule::default() })));
    let signed = |signature| with(|it| it.usage = Usage { signature, ..Usage::default() });
    let none = first(&rules, &signed(Seen::Known(None)));
    assert_eq!(offered(&none), ["sdb"]);
    let some = first(&rules, &signed(Seen::Known(Some("LVM2_member".into()))));
    assert_eq!(why(&some, "sdb"), "withheld: not empty: it carries LVM2_member");
    let unknown = first(&rules, &signed(missing()));
    assert_eq!(why(&unknown, "sdb"), "withheld: cannot verify: whether it is empty is not visible (not mounted here)");
}

#[test]
fn a_disk_that_is_named_but_differs_says_in_what() {
    let rule = BlockRule {
        names: vec!["sd*".into()],
        transport: vec![Transport::Sata, Transport::Sas, Transport::Scsi],
        ..BlockRule::default()
    };
    let picture = with(|it| it.transport = Transport::Usb);
    let decision = first(&one(group(Select::Block(rule))), &picture);
    assert_eq!(why(&decision, "sdb"), "withheld: transport is usb, wanted is sata, sas, scsi");
}

#[test]
fn partitions_are_offered_where_they_are_asked_for_and_used_ones_are_not() {
    let rules = one(group(Select::Block(BlockRule { partitions: true, ..BlockRule::default() })));
    let mut sdb = disk("sdb");
    sdb.partitions = vec![partition(&sdb, 1), partition(&sdb, 2)];
    let mounts = vec![mount(sdb.partitions[0].number, "/dev/sdb1", "/data")];
    let picture = Picture { mounts: Seen::Known(mounts), ..disks(vec![sdb]) };
    let decision = first(&rules, &picture);
    assert_eq!(offered(&decision), ["sdb2"]);
    assert_eq!(why(&decision, "sdb1"), "withheld: mounted at /data (ext4)");
}
