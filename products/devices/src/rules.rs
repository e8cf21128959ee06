//! `devices.yaml` to the rules of the core: every default filled in, and everything that is wrong told with its place.

use std::time::Duration;

use outrigger_config::{Fault, Faults, Path, Step, Verbatim};
use outrigger_device_core::rules as core;

use crate::file;
use crate::place::Located;
use crate::settings::{Configuration, Settings};

/// The least time between two looks that only the clock asks for: below, looking is all that a process does.
const LEAST: Duration = Duration::from_millis(10);

/// The rules of a configuration, with what is odd about them.
///
/// # Errors
/// Everything that is wrong, each with file, line and key.
pub fn rules(configuration: &Configuration) -> Result<(core::Rules, Faults), Faults> {
    let Configuration { settings, resources, .. } = configuration;
    let mut faults = Faults::default();
    let mut broken = Vec::new();
    let mut read = Vec::new();
    if let Some(message) = too_often(settings.audit) {
        let file = configuration.file.as_ref().map_or("configuration".into(), |file| file.display().to_string());
        faults.push(Fault::error(file, message).path("audit"));
    }
    for located in resources {
        let mut reader = Reader { located, faults: Vec::new() };
        read.push(reader.resource(settings));
        broken.push(!reader.faults.is_empty());
        faults.extend(reader.faults);
    }
    let ids = match settings.ids {
        file::IdScheme::Short => core::IdScheme::Short,
        file::IdScheme::Gdp => core::IdScheme::Gdp,
    };
    let evidence = if settings.trusts_sysfs { core::EvidencePolicy::Sysfs } else { core::EvidencePolicy::Required };
    let plugin_directory = settings.kubelet_directory.join("device-plugins/").display().to_string();
    let rules = core::Rules { resources: read, ids, evidence, plugin_directory };
    let about_whole = |fault: &core::Fault| place_of(fault).is_none_or(|(at, _)| broken.get(at) == Some(&false));
    let found = core::validate(&rules).into_iter().filter(about_whole);
    faults.extend(found.map(|fault| joined(&fault, resources)));
    faults.into_result(rules)
}

/// What is wrong with looking so often.
fn too_often(every: Duration) -> Option<String> {
    let [found, least] = [every, LEAST].map(outrigger_config::Duration::from);
    (every < LEAST).then(|| format!("{found} is too often, it must be at least {least}"))
}

/// The resource that a fault of the core's is about, and the field in it.
fn place_of(fault: &core::Fault) -> Option<(usize, Path)> {
    let [core::Step::Key(_), core::Step::Index(at), rest @ ..] = &fault.path.0[..] else { return None };
    let step = |step: &core::Step| match step {
        core::Step::Key(key) => Step::Key(key.clone()),
        core::Step::Index(index) => Step::Index(*index),
    };
    Some((*at, rest.iter().map(step).collect()))
}

/// A fault of the core's with the place of what it is about.
fn joined(fault: &core::Fault, resources: &[Located]) -> Fault {
    let place = place_of(fault).and_then(|(at, path)| Some((&resources.get(at)?.place, path)));
    match (place, fault.severity) {
        (Some((place, path)), core::Severity::Error) => place.fault(&path, &fault.message),
        (Some((place, path)), core::Severity::Warning) => place.warning(&path, &fault.message),
        (None, core::Severity::Error) => Fault::error("configuration", &fault.message).path(&fault.path),
        (None, core::Severity::Warning) => Fault::warning("configuration", &fault.message).path(&fault.path),
    }
}

/// Reads one resource.
struct Reader<'a> {
    located: &'a Located,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, path: &Path, message: impl Into<String>) {
        self.faults.push(self.located.place.fault(path, message));
    }

    fn resource(&mut self, settings: &Settings) -> core::Resource {
        let located = self.located;
        let file::Resource { name, resource, socket, groups, prefer, pre_start, share, health, .. } = &located.resource;
        let file::Resource { env, annotations, mounts, per_match, .. } = &located.resource;
        let top = Path::default();
        let health = health_policy(health.unwrap_or_default());
        if let Some(message) = too_often(health.every) {
            self.fault(&top.key("health").key("every"), message);
        }
        let name = self.name(name.as_deref(), resource.as_deref(), settings.domain.as_deref());
        let groups = groups.iter().enumerate();
        let groups = groups.filter_map(|(at, group)| self.group(group, &top.key("groups").index(at))).collect();
        let mount = |mount: &file::MountRule| core::MountTemplate {
            host_path: mount.host_path.clone(),
            container_path: mount.container_path.clone(),
            read_only: mount.read_only,
        };
        core::Resource {
            dialect: if located.gdp { core::Dialect::Gdp } else { core::Dialect::Own },
            socket: socket.clone(),
            prefer: match prefer.unwrap_or_default() {
                file::Prefer::None => core::Prefer::None,
                file::Prefer::Packed => core::Prefer::Packed,
                file::Prefer::Spread => core::Prefer::Spread,
            },
            pre_start: pre_start.map(|chosen| match chosen {
                file::PreStart::None => core::PreStart::None,
                file::PreStart::Verify => core::PreStart::Verify,
            }),
            share: share.unwrap_or_default(),
            per_match: per_match.unwrap_or_default(),
            health,
            env: env.clone(),
            annotations: annotations.clone(),
            mounts: mounts.iter().map(mount).collect(),
            ..core::Resource::new(name, groups)
        }
    }

    /// The full name; where it cannot be told, whatever is there of it.
    fn name(&mut self, name: Option<&str>, resource: Option<&str>, domain: Option<&str>) -> String {
        let top = Path::default();
        match (name, resource, domain) {
            (Some(_), Some(full), _) => {
                self.fault(&top.key("resource"), "name and resource cannot both be given");
                full.to_owned()
            }
            (None, Some(full), _) => full.to_owned(),
            (Some(name), None, Some(domain)) => format!("{domain}/{name}"),
            (Some(name), None, None) => {
                let message =
                    "no domain is set that would make it a resource: set `domain`, or give the full name as `resource`";
                self.fault(&top.key("name"), message);
                name.to_owned()
            }
            (None, None, _) => {
                self.fault(
                    &top.key("name"),
                    "this key is missing, or null: every resource has a name (quotes make a word of null)",
                );
                String::new()
            }
        }
    }

    fn group(&mut self, group: &file::Group, path: &Path) -> Option<core::Group> {
        let file::Group { count, paths, usb, block, serial, video, counted, mount_path, permissions, unit } = group;
        let mut selects = Vec::new();
        selects.extend(paths.as_ref().map(|rules| self.paths(rules, permissions.as_deref(), path)));
        selects.extend(usb.as_ref().map(|rules| self.usb(rules, &path.key("usb"))));
        selects.extend(block.as_ref().map(|rule| core::Select::Block(block_rule(rule))));
        selects.extend(serial.as_ref().map(|rule| self.serial(rule, &path.key("serial"))));
        selects.extend(video.as_ref().map(|rule| self.video(rule, &path.key("video"))));
        selects.extend(counted.as_ref().map(|rule| self.counted(rule, &path.key("counted"))));
        if selects.len() != 1 {
            self.fault(path, "exactly one of paths, usb, block, serial, video and counted is expected in a group");
            return None;
        }
        let all_by_default = usb.as_ref().is_some_and(|rules| rules.iter().all(has_only_keys_of_gdp));
        Some(core::Group {
            count: count.unwrap_or(1).max(1),
            mount_path: mount_path.clone(),
            permissions: permissions.clone(),
            unit: match unit {
                Some(file::UnitRule::All) => core::UnitOf::All,
                None if all_by_default => core::UnitOf::All,
                Some(file::UnitRule::Each) | None => core::UnitOf::Each,
            },
            ..core::Group::new(selects.pop()?)
        })
    }

    fn paths(&mut self, rules: &[file::PathRule], permissions: Option<&str>, group: &Path) -> core::Select {
        let mut read = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            let file::PathRule { path, mount_path, permissions: own, kind, read_only, limit, optional } = rule;
            let Some(path) = path else {
                self.fault(&group.key("paths").index(at).key("path"), "this key is missing");
                continue;
            };
            let with_defaults = core::PathRule::new(path.clone());
            read.push(core::PathRule {
                mount_path: mount_path.clone(),
                permissions: own.as_deref().or(permissions).map_or(with_defaults.permissions, str::to_owned),
                kind: match kind.unwrap_or_default() {
                    file::PathKind::Device => core::PathKind::Device,
                    file::PathKind::Mount => core::PathKind::Mount,
                },
                read_only: read_only.unwrap_or_default(),
                limit: limit.unwrap_or(1).max(1),
                optional: optional.unwrap_or_default(),
                path: with_defaults.path,
            });
        }
        core::Select::Paths(read)
    }

    fn usb(&mut self, rules: &[file::UsbRule], path: &Path) -> core::Select {
        let rules = rules.iter().enumerate();
        core::Select::Usb(rules.map(|(at, rule)| self.usb_rule(rule, &path.index(at))).collect())
    }

    fn usb_rule(&mut self, rule: &file::UsbRule, path: &Path) -> core::UsbRule {
        let file::UsbRule { vendor, product, serial, class, port, interface, child, identity } = rule;
        core::UsbRule {
            vendor: self.hex(vendor.as_ref(), &path.key("vendor")),
            product: self.hex(product.as_ref(), &path.key("product")),
            serial: serial.as_ref().map(|serial| self.text(serial)),
            class: self.hex(class.as_ref(), &path.key("class")),
            port: text(port.as_ref()),
            interface: self.hex(interface.as_ref(), &path.key("interface")),
            child: child.map(|child| match child {
                file::Child::Tty => core::Child::Tty,
                file::Child::Video => core::Child::Video,
                file::Child::Hidraw => core::Child::Hidraw,
                file::Child::Sound => core::Child::Sound,
                file::Child::Input => core::Child::Input,
                file::Child::Block => core::Child::Block,
            }),
            identity: match identity.unwrap_or_default() {
                file::UsbIdentity::Auto => core::UsbIdentity::Auto,
                file::UsbIdentity::Serial => core::UsbIdentity::Serial,
                file::UsbIdentity::Port => core::UsbIdentity::Port,
            },
        }
    }

    fn serial(&mut self, rule: &file::PortRule, path: &Path) -> core::Select {
        let file::PortRule { vendor, product, serial, port, names, by_id } = rule;
        core::Select::Serial(core::SerialRule {
            vendor: self.hex(vendor.as_ref(), &path.key("vendor")),
            product: self.hex(product.as_ref(), &path.key("product")),
            serial: serial.as_ref().map(|serial| self.text(serial)),
            port: text(port.as_ref()),
            names: names.clone(),
            by_id: texts(by_id),
        })
    }

    fn video(&mut self, rule: &file::PortRule, path: &Path) -> core::Select {
        let file::PortRule { vendor, product, serial, port, names, by_id } = rule;
        if !by_id.is_empty() {
            self.fault(
                &path.key("byId"),
                "cameras are not selected by these names: use vendor, product, serial or port",
            );
        }
        core::Select::Video(core::VideoRule {
            vendor: self.hex(vendor.as_ref(), &path.key("vendor")),
            product: self.hex(product.as_ref(), &path.key("product")),
            serial: serial.as_ref().map(|serial| self.text(serial)),
            port: text(port.as_ref()),
            names: names.clone(),
        })
    }

    fn counted(&mut self, rule: &file::CountedRule, path: &Path) -> core::Select {
        let file::CountedRule { count, values, env } = rule;
        if count.is_some() != values.is_empty() {
            self.fault(path, "exactly one of count and values is expected");
        }
        core::Select::Counted(match count {
            Some(count) => core::CountedRule::Count { count: *count, env: env.clone() },
            None => core::CountedRule::Values { values: texts(values), env: env.clone() },
        })
    }

    /// A hexadecimal number as `lsusb` shows it, with or without `0x`.
    fn hex<N: TryFrom<u32>>(&mut self, text: Option<&Verbatim>, path: &Path) -> Option<N> {
        let text = text?;
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let number = u32::from_str_radix(digits, 16).ok().and_then(|number| N::try_from(number).ok());
        if number.is_none() || digits.starts_with('+') {
            let bits = size_of::<N>() * 8;
            self.fault(path, format!("{:?} is no hexadecimal number of {bits} bits", &**text));
        }
        number
    }

    /// Of theirs a serial number stands for itself; of ours it is a glob.
    fn text(&self, text: &Verbatim) -> core::TextPattern {
        if self.located.gdp {
            core::TextPattern::Exact(text.to_string())
        } else {
            core::TextPattern::Glob(text.to_string())
        }
    }
}

fn has_only_keys_of_gdp(rule: &file::UsbRule) -> bool {
    let file::UsbRule { vendor: _, product: _, serial: _, class, port, interface, child, identity } = rule;
    class.is_none() && port.is_none() && interface.is_none() && child.is_none() && identity.is_none()
}

fn block_rule(rule: &file::BlockRule) -> core::BlockRule {
    let file::BlockRule { transport, names, model, vendor, serial, wwid, by_id, min_size, max_size, .. } = rule;
    let file::BlockRule { rotational, removable, read_only, numa_node, empty, partitions, .. } = rule;
    core::BlockRule {
        transport: transport.iter().map(|transport| core_transport(*transport)).collect(),
        names: names.clone(),
        model: text(model.as_ref()),
        vendor: text(vendor.as_ref()),
        serial: text(serial.as_ref()),
        wwid: text(wwid.as_ref()),
        by_id: texts(by_id),
        min_size: min_size.map(outrigger_config::ByteSize::bytes),
        max_size: max_size.map(outrigger_config::ByteSize::bytes),
        rotational: *rotational,
        removable: *removable,
        read_only: *read_only,
        numa_node: *numa_node,
        empty: empty.unwrap_or_default(),
        partitions: partitions.unwrap_or_default() == file::Partitions::Partition,
    }
}

fn core_transport(transport: file::Transport) -> core::Transport {
    match transport {
        file::Transport::Sata => core::Transport::Sata,
        file::Transport::Sas => core::Transport::Sas,
        file::Transport::Scsi => core::Transport::Scsi,
        file::Transport::Nvme => core::Transport::Nvme,
        file::Transport::NvmeFabric => core::Transport::NvmeFabric,
        file::Transport::Virtio => core::Transport::Virtio,
        file::Transport::Mmc => core::Transport::Mmc,
        file::Transport::Usb => core::Transport::Usb,
        file::Transport::Iscsi => core::Transport::Iscsi,
        file::Transport::Fc => core::Transport::FibreChannel,
        file::Transport::Loop => core::Transport::Loop,
        file::Transport::Dm => core::Transport::DeviceMapper,
        file::Transport::Md => core::Transport::Md,
        file::Transport::Nbd => core::Transport::Nbd,
        file::Transport::Ram => core::Transport::Ram,
    }
}

fn health_policy(health: file::Health) -> core::HealthPolicy {
    let file::Health { unhealthy_after, healthy_after, vanish_grace, every } = health;
    let default = core::HealthPolicy::default();
    let or = |written: Option<outrigger_config::Duration>, default| written.map_or(default, Duration::from);
    core::HealthPolicy {
        unhealthy_after: unhealthy_after.unwrap_or(default.unhealthy_after),
        healthy_after: or(healthy_after, default.healthy_after),
        vanish_grace: or(vanish_grace, default.vanish_grace),
        every: or(every, default.every),
    }
}

fn text(text: Option<&Verbatim>) -> Option<String> {
    text.map(ToString::to_string)
}

fn texts(texts: &[Verbatim]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}
