//! Whether a document speaks the generic-device-plugin's dialect: it does where none of its keys is only ours.
//!
//! A key that nobody knows but that is nearly one of ours was meant for us, so that a misspelled rule is never passed over
//! in silence.

use outrigger_config::nearest;
use serde_json::Value;

/// What the two dialects know at one level of a document.
struct Level {
    theirs: &'static [&'static str],
    ours: &'static [&'static str],
    /// Their keys whose values are lists of maps, and what these maps know.
    lists: &'static [(&'static str, &'static Level)],
}

const TOP: Level = Level {
    theirs: &["config", "device", "devices", "domain", "listen", "log-level", "plugin-directory", "version"],
    ours: &[
        "ids",
        "pluginDirectory",
        "kubeletDirectory",
        "hostRoot",
        "hostMountinfo",
        "lockDirectory",
        "audit",
        "admin",
    ],
    lists: &[("device", &DEVICE), ("devices", &DEVICE)],
};

const DEVICE: Level = Level {
    theirs: &["name", "groups"],
    ours: &["resource", "socket", "prefer", "preStart", "share", "health", "env", "annotations", "mounts", "perMatch"],
    lists: &[("groups", &GROUP)],
};

const GROUP: Level = Level {
    theirs: &["count", "paths", "usb"],
    ours: &["block", "serial", "video", "counted", "mountPath", "permissions", "unit"],
    lists: &[("paths", &PATH), ("usb", &USB)],
};

const PATH: Level = Level {
    theirs: &["path", "mountPath", "permissions", "type", "readOnly", "limit", "optional"],
    ours: &[],
    lists: &[],
};

const USB: Level = Level {
    theirs: &["vendor", "product", "serial"],
    ours: &["class", "port", "interface", "child", "identity"],
    lists: &[],
};

/// Whether a whole file is theirs. `by_name` says that the process was called by their name, where a misspelling is passed
/// over as they do.
pub fn is_file_of_gdp(value: &Value, by_name: bool) -> bool {
    is_theirs(value, &TOP, by_name) && (by_name || knows_some(value, &TOP))
}

/// Whether the value of one `--device` is theirs.
pub fn is_device_of_gdp(value: &Value, by_name: bool) -> bool {
    is_theirs(value, &DEVICE, by_name) && (by_name || knows_some(value, &DEVICE))
}

/// Whether at least one key is theirs: a map that nobody knows anything of was not written for them either.
fn knows_some(value: &Value, level: &Level) -> bool {
    let is_known = |key: &String| level.theirs.iter().any(|known| known.eq_ignore_ascii_case(key));
    value.as_object().is_none_or(|map| map.is_empty() || map.keys().any(is_known))
}

fn is_theirs(value: &Value, level: &Level, by_name: bool) -> bool {
    let Some(map) = value.as_object() else { return true };
    map.iter().all(|(key, inner)| {
        let known = level.theirs.iter().find(|known| known.eq_ignore_ascii_case(key));
        let Some(known) = known else {
            return !level.ours.contains(&key.as_str()) && (by_name || !is_misspelled(key, level));
        };
        let Some((_, below)) = level.lists.iter().find(|(list, _)| list == known) else { return true };
        inner.as_array().is_none_or(|items| items.iter().all(|item| is_theirs(item, below, by_name)))
    })
}

/// Whether a key was meant for us. One of theirs in a wrong place, such as the `count` beside `name` in their own help, was
/// not.
fn is_misspelled(key: &str, level: &Level) -> bool {
    let theirs = |level: &Level| level.theirs.iter().any(|known| known.eq_ignore_ascii_case(key));
    ![&TOP, &DEVICE, &GROUP, &PATH, &USB].into_iter().any(theirs) && nearest(key, level.ours.iter().copied()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_theirs_where_no_key_is_only_ours() {
        for (text, by_us, by_name) in [
            ("{}", true, true),
            ("{domain: x.y, devices: [{name: a, groups: [{paths: [{path: /dev/a}]}]}]}", true, true),
            ("{log-level: info}", true, true),
            ("{devices: [{Name: a, GROUPS: [{Paths: [{mountpath: /x}]}]}]}", true, true),
            ("{devices: [{name: a, count: 3, color: red}]}", true, true),
            ("{devices: [{name: a, groups: [{usb: [{vendor: 1, child: tty}]}]}]}", false, false),
            ("{devices: [{name: a, groups: [{usb: [{vendor: 1}], mountPath: /x}]}]}", false, false),
            ("{ids: gdp}", false, false),
            ("{devices: [{name: a, groups: [{blok: {}}]}]}", false, true),
            ("{pluginDirectory: /x}", false, false),
            ("{bad: 1}", false, true),
            ("[1]", true, true),
        ] {
            let documents = outrigger_config::read("a.yaml", text.as_bytes()).unwrap();
            let value = documents[0].value();
            assert_eq!(is_file_of_gdp(value, false), by_us, "{text}");
            assert_eq!(is_file_of_gdp(value, true), by_name, "{text}");
        }
    }
}
