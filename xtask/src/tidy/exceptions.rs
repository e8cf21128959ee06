//! What may stay as it is, by name and with a reason.

use super::Fault;

/// One exception.
#[derive(Debug)]
pub(super) struct Exception {
    /// The check it is from.
    pub(super) check: &'static str,
    /// The fault's subject, in full.
    pub(super) subject: &'static str,
    /// Why it is better so.
    pub(super) reason: &'static str,
}

/// All exceptions.
pub(super) const EXCEPTIONS: &[Exception] = &[
    Exception {
        check: "budgets",
        subject: "cores/pod-core",
        reason: "the plan, the checks and the life of one object; the checks are split off when a second core needs them",
    },
    Exception {
        check: "budgets",
        subject: "cores/device-core",
        reason: "one decision with its words; the patterns of paths and texts are split off when a second core needs them",
    },
    Exception {
        check: "budgets",
        subject: "products/devices",
        reason: "two doors, the kubelet's and the pod runner's, on one configuration; what they share needs device-core, which no shell may use",
    },
    Exception {
        check: "budgets",
        subject: "xtask",
        reason: "one program with a door for each task; the cluster, a third of it, is split off when a second program starts clusters",
    },
];

/// The faults without those excepted. An exception that excepts nothing, or has no reason, is a fault.
pub(super) fn apply(faults: Vec<Fault>, exceptions: &[Exception]) -> Vec<Fault> {
    let excepts = |exception: &Exception, fault: &Fault| {
        exception.check == fault.check && exception.subject == fault.subject && !exception.reason.is_empty()
    };
    let idle = exceptions.iter().filter(|exception| !faults.iter().any(|fault| excepts(exception, fault)));
    let idle: Vec<Fault> = idle
        .map(|exception| Fault {
            check: "exceptions",
            subject: exception.subject.to_owned(),
            text: format!("the exception from {} is not needed, or has no reason; remove it", exception.check),
        })
        .collect();
    let kept = faults.into_iter().filter(|fault| !exceptions.iter().any(|exception| excepts(exception, fault)));
    kept.chain(idle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(subject: &str) -> Fault {
        Fault { check: "budgets", subject: subject.into(), text: "too long".into() }
    }

    #[test]
    fn an_exception_covers_its_fault_alone() {
        let exception = Exception { check: "budgets", subject: "a.rs", reason: "one table" };
        assert_eq!(apply(vec![fault("a.rs"), fault("b.rs")], &[exception]), [fault("b.rs")]);
    }

    #[test]
    fn an_exception_without_a_fault_or_a_reason_is_a_fault() {
        let idle = Exception { check: "budgets", subject: "gone.rs", reason: "one table" };
        let unreasoned = Exception { check: "budgets", subject: "a.rs", reason: "" };
        let faults = apply(vec![fault("a.rs")], &[idle, unreasoned]);
        let subjects: Vec<(&str, &str)> = faults.iter().map(|fault| (fault.check, &*fault.subject)).collect();
        assert_eq!(subjects, [("budgets", "a.rs"), ("exceptions", "gone.rs"), ("exceptions", "a.rs")]);
    }
}
