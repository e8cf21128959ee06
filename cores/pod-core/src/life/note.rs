//! The kubelet's events and how their texts are made (`pkg/kubelet/events/event.go`).

use std::borrow::Cow;
use std::time::Duration;

use super::event::Pulled;
use super::{Action, Machine, Note};

impl Machine {
    pub(super) fn note(
        &self,
        i: Option<usize>,
        warning: bool,
        reason: impl Into<Cow<'static, str>>,
        message: String,
        actions: &mut Vec<Action>,
    ) {
        let container = i.map(|i| self.container_plan(i).name.clone());
        actions.push(Action::Note(Note { container, warning, reason: reason.into(), message }));
    }

    /// `images/image_manager.go`, `EnsureImageExists` and `pullImage`.
    pub(super) fn image_notes(&self, i: usize, image_id: &str, pulled: Option<Pulled>, actions: &mut Vec<Action>) {
        let image = &self.container_plan(i).image;
        if let Some(Pulled { took, bytes }) = pulled {
            let took = go_duration(took);
            let text = format!(
                "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {bytes} bytes."
            );
            self.note(Some(i), false, "Pulled", text, actions);
        } else if !image_id.is_empty() {
            let text = format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
            self.note(Some(i), false, "Pulled", text, actions);
        }
    }

    /// `util/format/pod.go`, `Pod`: `name_namespace(uid)`.
    pub(super) fn pod_text(&self) -> String {
        format!("{}_{}({})", self.plan.name, self.plan.namespace, self.plan.uid)
    }
}

/// A duration as Go prints it, to the millisecond: `10s`, `1m20s`, `5m0s`, `1.5s`, `30ms`.
pub(super) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let (minutes, seconds, rest) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
    let fraction = format!(".{rest:03}");
    let seconds = format!("{seconds}{}s", fraction.trim_end_matches('0').trim_end_matches('.'));
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_go_tells_them() {
        let table = [
            (0, "0s"),
            (30, "30ms"),
            (1500, "1.5s"),
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
            (3_661_001, "1h1m1.001s"),
        ];
        for (millis, expected) in table {
            assert_eq!(go_duration(Duration::from_millis(millis)), expected);
        }
    }
}
