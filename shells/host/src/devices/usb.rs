//! USB devices, from `/sys/bus/usb/devices`.

use std::path::Path;

use super::attributes::{Attributes, Tree, names};
use super::{Scope, UsbDevice};

pub(super) fn look(tree: &mut Tree<'_>, scope: &Scope) -> Vec<UsbDevice> {
    let directory = tree.roots.at("/sys/bus/usb/devices");
    let names = match scope {
        Scope::All => tree.names(&directory),
        Scope::Only { usb, .. } => usb.clone(),
    };
    // With a colon it is an interface.
    names.iter().filter(|name| !name.contains(':')).filter_map(|name| device(tree, &directory, name)).collect()
}

/// One that does not tell what it is, is none, as generic-device-plugin has it.
fn device(tree: &mut Tree<'_>, directory: &Path, name: &str) -> Option<UsbDevice> {
    let real = tree.real(&directory.join(name))?;
    let mut read = Attributes::of(&real);
    let hex = |text: Option<String>| u16::from_str_radix(text?.trim(), 16).ok();
    let (vendor, product) = (hex(read.text("idVendor"))?, hex(read.text("idProduct"))?);
    let (bus, device) = (read.number("busnum")?, read.number("devnum")?);
    let class = hex(read.text("bDeviceClass")).and_then(|class| u8::try_from(class).ok());
    Some(UsbDevice {
        name: name.to_owned(),
        node: format!("/dev/bus/usb/{bus:03}/{device:03}"),
        number: read.device_number("dev"),
        bus,
        device,
        vendor,
        product,
        serial: read.text("serial"),
        manufacturer: read.text("manufacturer"),
        product_name: read.text("product"),
        class: class.unwrap_or(0),
        interfaces: interfaces(&real, name),
        authorized: read.flag("authorized"),
        numa: tree.numa(&real),
    })
}

/// Number and class of each interface: directories `NAME:CONFIGURATION.INTERFACE`.
fn interfaces(real: &Path, name: &str) -> Vec<(u8, u8)> {
    let own = |entry: &String| entry.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
    let interface = |entry: String| {
        let mut read = Attributes::of(&real.join(entry));
        let hex = |text: Option<String>| u8::from_str_radix(text?.trim(), 16).ok();
        Some((hex(read.text("bInterfaceNumber"))?, hex(read.text("bInterfaceClass"))?))
    };
    names(real).unwrap_or_default().into_iter().filter(own).filter_map(interface).collect()
}
