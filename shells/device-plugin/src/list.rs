//! The list of a resource's devices, and how much of it fits into one message.
//!
//! A kubelet takes messages of at most 4 MiB and drops the whole resource at a larger one. There is no paging. So what does
//! not fit is withheld: the list is in the order of its ids, and its end is cut off, so that the same devices stay withheld
//! from one list to the next. A device counts with the longer of its two healths, so that a change of health moves nothing.
//!
//! A list is kept as the bytes that every stream sends. Whoever makes one encodes it: with ten thousand devices that takes
//! milliseconds, in which no call should wait.
//!
//! What it does not do: it decides about no device.

use std::sync::Arc;

use outrigger_kubelet_api::device_plugin::{self as wire, HEALTHY, UNHEALTHY, encode_device};
use outrigger_kubelet_api::{Bytes, MAX_MESSAGE};

/// One unit of a resource, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// At most 63 characters, the same over restarts of everything.
    pub id: Arc<str>,
    /// Whether it may be given.
    pub healthy: bool,
    /// The NUMA nodes that it is nearest to; empty where none is nearer than the others.
    pub numa: Vec<u32>,
}

/// All devices of a resource, as they are sent: in the order of their ids, no id twice, and as many as fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceList {
    encoded: Bytes,
    fit: Fit,
    healthy: usize,
}

/// How much of a list fits into one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// How many devices, from the first, are listed.
    pub listed: usize,
    /// How many are not.
    pub withheld: usize,
    /// Bytes that the whole list would take.
    pub bytes: usize,
}

impl Device {
    /// Bytes that the device takes in a list, with the longer of its two healths.
    pub fn size(&self) -> usize {
        let nodes: usize =
            self.numa.iter().map(|&node| field(if node == 0 { 0 } else { 1 + varint(node as usize) })).sum();
        let topology = if self.numa.is_empty() { 0 } else { field(nodes) };
        field(field(self.id.len()) + field(UNHEALTHY.len()) + topology)
    }

    /// Makes a message of the device, out of an earlier one.
    fn write(&self, message: &mut wire::Device) {
        let wire::Device { id, health, topology } = message;
        id.clear();
        id.push_str(&self.id);
        health.clear();
        health.push_str(if self.healthy { HEALTHY } else { UNHEALTHY });
        let nodes = self.numa.iter().map(|&node| wire::NumaNode { id: node.into() }).collect();
        *topology = (!self.numa.is_empty()).then_some(wire::TopologyInfo { nodes });
    }
}

impl DeviceList {
    /// A list of these devices, in any order. Of several with one id the first stays.
    pub fn new(mut devices: Vec<Device>) -> Self {
        devices.sort_by(|one, other| one.id.cmp(&other.id));
        devices.dedup_by(|later, earlier| later.id == earlier.id);
        let fit = fit(&devices);
        let (mut encoded, mut message) = (Vec::with_capacity(fit.bytes.min(MAX_MESSAGE)), wire::Device::default());
        let listed = &devices[..fit.listed];
        for device in listed {
            device.write(&mut message);
            encode_device(&message, &mut encoded);
        }
        let healthy = listed.iter().filter(|device| device.healthy).count();
        Self { encoded: encoded.into(), fit, healthy }
    }

    /// How much of it fits into the largest message that a kubelet takes.
    pub fn fit(&self) -> Fit {
        self.fit
    }

    /// How many of those that are listed may be given.
    pub fn healthy(&self) -> usize {
        self.healthy
    }

    /// The message that holds what fits.
    pub(crate) fn message(&self) -> wire::ListAndWatchResponse {
        wire::ListAndWatchResponse { encoded: self.encoded.clone(), ..wire::ListAndWatchResponse::default() }
    }
}

fn fit(devices: &[Device]) -> Fit {
    let mut fit = Fit::default();
    for device in devices {
        fit.bytes += device.size();
        if fit.bytes <= MAX_MESSAGE {
            fit.listed += 1;
        } else {
            fit.withheld += 1;
        }
    }
    fit
}

impl FromIterator<Device> for DeviceList {
    fn from_iter<I: IntoIterator<Item = Device>>(devices: I) -> Self {
        Self::new(devices.into_iter().collect())
    }
}

/// Bytes of a field of `content` bytes: its tag (all numbers are below 16), its length, its content.
fn field(content: usize) -> usize {
    1 + varint(content) + content
}

/// Bytes of a number: seven bits each.
fn varint(number: usize) -> usize {
    (number | 1).ilog2() as usize / 7 + 1
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn device(id: &str, numa: &[u32]) -> Device {
        Device { id: id.into(), healthy: false, numa: numa.to_vec() }
    }

    /// As a kubelet receives it.
    fn received(list: &DeviceList) -> Vec<wire::Device> {
        let message = list.message().encode_to_vec();
        assert!(message.len() <= MAX_MESSAGE);
        wire::ListAndWatchResponse::decode(&*message).expect("it is a list").devices
    }

    #[test]
    fn the_size_is_that_on_the_wire() {
        let long = "x".repeat(200);
        for (id, numa) in
            [("a", &[][..]), ("a", &[0]), ("a", &[1]), ("a", &[0, 300]), (&long, &[0, 1, 2]), (&long, &[])]
        {
            let list = DeviceList::new(vec![device(id, numa)]);
            assert_eq!(list.message().encoded_len(), list.fit().bytes, "{id} {numa:?}");
        }
    }

    #[test]
    fn a_list_is_in_the_order_of_its_ids_and_has_none_twice() {
        let well = Device { healthy: true, ..device("b", &[]) };
        let list = DeviceList::new(vec![well, device("a", &[1]), device("b", &[2])]);
        assert_eq!(list.healthy(), 1);
        let [one, other] = &received(&list)[..] else { panic!("{list:?}") };
        assert_eq!((&*one.id, &*one.health, one.topology.is_some()), ("a", UNHEALTHY, true));
        assert_eq!((&*other.id, &*other.health, other.topology.is_some()), ("b", HEALTHY, false));
    }

    /// 40 characters, as GDP's ids have: 55 bytes each with `Unhealthy`.
    #[test]
    fn what_does_not_fit_is_withheld_and_the_message_stays_below_the_limit() {
        let list: DeviceList = (0..80_000).map(|number| device(&format!("{number:040}"), &[])).collect();
        let fit = list.fit();
        assert_eq!((fit.listed, fit.withheld, fit.bytes), (76_260, 3_740, 80_000 * 55));
        assert!(list.message().encoded_len() + 55 > MAX_MESSAGE);
        assert_eq!(received(&list)[76_259].id, format!("{:040}", 76_259));
    }
}
