//! Probes, hooks and the ports they name (`validateProbe`, `validateHandler`, `validateLifecycle`).

use std::collections::BTreeSet;

use super::container::Scope;
use super::{names, shown};
use crate::fault::{At, Faults};

/// All probes and hooks of a container whose ports have these names.
pub(super) fn check_probes(at: &At<'_, '_>, ports: &BTreeSet<&str>, scope: &Scope<'_>, faults: &mut Faults) {
    for key in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let probe = at.get(key);
        if probe.is_set() {
            check_probe(&probe, key == "readinessProbe", faults);
            check_handler(&probe, &["exec", "httpGet", "tcpSocket", "grpc"], ports, faults);
        }
    }
    let lifecycle = at.get("lifecycle");
    for key in ["postStart", "preStop"] {
        let hook = lifecycle.get(key);
        if !hook.is_set() {
            continue;
        }
        check_handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], ports, faults);
        let seconds = hook.get("sleep").get("seconds").number();
        if seconds.is_some_and(|seconds| !(0..=scope.grace).contains(&seconds)) {
            let message =
                format!("must not be negative or longer than terminationGracePeriodSeconds ({})", scope.grace);
            faults.error(&hook.get("sleep").get("seconds"), message);
        }
    }
    let signal = lifecycle.get("stopSignal");
    if let Some(text) = signal.text() {
        if !is_signal(text) {
            faults.error(&signal, format!("is {:?}, but must be a signal's name such as SIGTERM", shown(text)));
        }
        if !scope.has_os {
            faults.error_with_help(
                &signal,
                "can only be given where the pod names its system",
                "add spec.os.name: linux",
            );
        }
    }
}

fn check_probe(at: &At<'_, '_>, readiness: bool, faults: &mut Faults) {
    for key in ["initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold"] {
        if at.get(key).number().is_some_and(|number| number < 0) {
            faults.error(&at.get(key), "must not be negative");
        }
    }
    let successes = at.get("successThreshold");
    if !readiness && successes.number().is_some_and(|number| number > 1) {
        faults.error(&successes, "must be 1; only a readinessProbe can have more");
    }
    let grace = at.get("terminationGracePeriodSeconds");
    if readiness && grace.is_set() {
        faults.error(&grace, "cannot be given for a readinessProbe");
    } else if grace.number().is_some_and(|seconds| seconds <= 0) {
        faults.error(&grace, "must be greater than 0");
    }
}

fn check_handler(at: &At<'_, '_>, kinds: &[&str], ports: &BTreeSet<&str>, faults: &mut Faults) {
    if kinds.iter().filter(|kind| at.get(kind).is_set()).count() != 1 {
        faults.error(at, format!("must have exactly one of {}", kinds.join(", ")));
    }
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        let port_of = at.get(kind);
        let port = port_of.get("port");
        check_port_number(&port, faults);
        names::require(&port, names::port, faults);
        // A kubelet finds out only when it asks (`pkg/probe/util.go`, `ResolveContainerPort`).
        if port.text().is_some_and(|name| names::port(name).is_none() && !ports.contains(name)) {
            let message = format!("is {:?}, but the container has no port of this name", shown(port.text_or_empty()));
            faults.error_with_help(&port, message, "name it under ports, or write the number");
        }
    }
    for header in at.get("httpGet").get("httpHeaders").items() {
        names::require(&header.get("name"), names::header, faults);
    }
}

/// `IsValidPortNum`.
pub(super) fn check_port_number(at: &At<'_, '_>, faults: &mut Faults) {
    if at.number().is_some_and(|port| !(1..=65_535).contains(&port)) {
        faults.error(at, "must be a port from 1 to 65535");
    }
}

/// `supportedStopSignalsLinux`.
fn is_signal(name: &str) -> bool {
    const PLAIN: [&str; 36] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
        "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
        "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
    ];
    let Some(name) = name.strip_prefix("SIG") else { return false };
    let offset = |prefix: &str, most: u8| {
        let digits = name.strip_prefix(prefix).filter(|digits| !digits.starts_with(['0', '+']));
        digits.and_then(|digits| digits.parse::<u8>().ok()).is_some_and(|number| (1..=most).contains(&number))
    };
    PLAIN.contains(&name) || offset("RTMIN+", 15) || offset("RTMAX-", 14)
}
