//! What is wrong with one group.

use std::collections::BTreeSet;

use super::Found;
use crate::rules::{
    BlockRule, CountedRule, FieldPath, Group, PathKind, PathPattern, PathRule, Resource, Select, SerialRule,
    TextPattern, UsbRule, VideoRule,
};

pub(super) fn check(resource: &Resource, group: &Group, path: &FieldPath, found: &mut Found) {
    if group.count == 0 {
        found.error(&path.key("count"), "0 would offer nothing: at least 1");
    }
    if let Some(mount_path) = &group.mount_path {
        found.absolute(&path.key("mountPath"), mount_path);
    }
    if let Some(permissions) = &group.permissions {
        check_permissions(permissions, &path.key("permissions"), found);
    }
    if !resource.cdi && group.owner.is_some() {
        found.error(&path.key("owner"), "the owner of a node can only be set with cdi: true");
    }
    if !resource.cdi && !group.additional_gids.is_empty() {
        found.error(&path.key("additionalGids"), "further groups can only be set with cdi: true");
    }
    if group.owner.and_then(|owner| owner.mode).is_some_and(|mode| mode > 0o777) {
        found.error(&path.key("owner").key("mode"), "a mode is at most 0777");
    }
    match &group.select {
        Select::Paths(rules) => list(rules, path, "paths", found, check_path),
        Select::Usb(rules) => list(rules, path, "usb", found, check_usb),
        Select::Block(rule) => check_block(rule, &path.key("block"), found),
        Select::Serial(rule) => check_serial(rule, &path.key("serial"), found),
        Select::Video(rule) => check_video(rule, &path.key("video"), found),
        Select::Counted(rule) => check_counted(rule, &path.key("counted"), found),
    }
}

fn list<T>(rules: &[T], path: &FieldPath, key: &str, found: &mut Found, check: fn(&T, &FieldPath, &mut Found)) {
    if rules.is_empty() {
        found.error(&path.key(key), "it is empty: it would offer nothing");
    }
    for (number, rule) in rules.iter().enumerate() {
        check(rule, &path.key(key).index(number), found);
    }
}

fn check_path(rule: &PathRule, path: &FieldPath, found: &mut Found) {
    match &rule.path {
        PathPattern::Glob(glob) => {
            found.absolute(&path.key("path"), glob);
            // Each step is matched by itself, so that a class cannot reach over a slash.
            for step in glob.split('/') {
                if let Err(bad) = crate::pattern::check(step) {
                    found.error(&path.key("path"), format!("{glob:?} is {bad}"));
                    break;
                }
            }
        }
        PathPattern::Regex(regex) if regex.is_empty() => {
            found.error(&path.key("regex"), "it is empty: it would match everything below /dev");
        }
        PathPattern::Regex(_) => (),
    }
    if let Some(mount_path) = &rule.mount_path {
        found.absolute(&path.key("mountPath"), mount_path);
    }
    if rule.limit == 0 {
        found.error(&path.key("limit"), "0 would offer nothing: at least 1");
    }
    match rule.kind {
        PathKind::Device => {
            check_permissions(&rule.permissions, &path.key("permissions"), found);
            if rule.read_only {
                found.error(&path.key("readOnly"), "only a mount can be read only; a device has permissions: r");
            }
        }
        PathKind::Mount => (),
    }
}

fn check_permissions(text: &str, path: &FieldPath, found: &mut Found) {
    let letters: BTreeSet<char> = text.chars().collect();
    if text.is_empty() || letters.len() < text.chars().count() || !letters.iter().all(|letter| "rwm".contains(*letter))
    {
        found.error(path, format!("{text:?} are no permissions: some of r, w and m, each once"));
    }
}

fn check_text(pattern: Option<&TextPattern>, path: &FieldPath, found: &mut Found) {
    if let Some(TextPattern::Glob(glob)) = pattern {
        found.glob(path, glob);
    }
}

fn globs(all: &[String], path: &FieldPath, found: &mut Found) {
    for (number, glob) in all.iter().enumerate() {
        found.glob(&path.index(number), glob);
    }
}

fn check_usb(rule: &UsbRule, path: &FieldPath, found: &mut Found) {
    check_text(rule.serial.as_ref(), &path.key("serial"), found);
    if let Some(port) = &rule.port {
        found.glob(&path.key("port"), port);
    }
    if rule.interface.is_some() && rule.child.is_none() {
        found.error(&path.key("interface"), "the bus node has all interfaces: say which child of this one is meant");
    }
}

fn check_block(rule: &BlockRule, path: &FieldPath, found: &mut Found) {
    globs(&rule.names, &path.key("names"), found);
    globs(&rule.by_id, &path.key("byId"), found);
    let texts = [("model", &rule.model), ("vendor", &rule.vendor), ("serial", &rule.serial), ("wwid", &rule.wwid)];
    for (key, text) in texts {
        if let Some(glob) = text {
            found.glob(&path.key(key), glob);
        }
    }
    for (number, name) in rule.names.iter().enumerate() {
        if name.contains('/') {
            let message = format!("{name:?} is no kernel name, as sda; a path belongs under paths, a link under byId");
            found.error(&path.key("names").index(number), message);
        }
    }
    if let (Some(least), Some(most)) = (rule.min_size, rule.max_size)
        && least > most
    {
        found.error(&path.key("minSize"), format!("{least} bytes at the least and {most} at the most fit no disk"));
    }
}

fn check_serial(rule: &SerialRule, path: &FieldPath, found: &mut Found) {
    globs(&rule.names, &path.key("names"), found);
    globs(&rule.by_id, &path.key("byId"), found);
    check_text(rule.serial.as_ref(), &path.key("serial"), found);
    if let Some(port) = &rule.port {
        found.glob(&path.key("port"), port);
    }
}

fn check_video(rule: &VideoRule, path: &FieldPath, found: &mut Found) {
    globs(&rule.names, &path.key("names"), found);
    check_text(rule.serial.as_ref(), &path.key("serial"), found);
    if let Some(port) = &rule.port {
        found.glob(&path.key("port"), port);
    }
}

fn check_counted(rule: &CountedRule, path: &FieldPath, found: &mut Found) {
    let env = match rule {
        CountedRule::Count { count, env } => {
            if *count == 0 {
                found.error(&path.key("count"), "0 would offer nothing: at least 1");
            }
            env
        }
        CountedRule::Values { values, env } => {
            if values.is_empty() {
                found.error(&path.key("values"), "it is empty: it would offer nothing");
            }
            let mut seen = BTreeSet::new();
            for (number, value) in values.iter().enumerate() {
                if !seen.insert(value) {
                    found.error(&path.key("values").index(number), format!("{value:?} is there twice"));
                }
            }
            env
        }
    };
    if let Some(name) = env.as_deref().filter(|name| !is_variable(name)) {
        found.error(&path.key("env"), format!("{name:?} is no name for a variable"));
    }
}

/// Whether it is a name of an environment variable that every shell can read.
pub(super) fn is_variable(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_word) && !name.starts_with(|first: char| first.is_ascii_digit())
}
