//! Terminals and standard input of containers, and of commands in them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use outrigger_e2e::terminal::Terminal;

use crate::pod;
use crate::sid::{Said, Sid, USER};

/// Root's containers and those of an ordinary user, each with both kinds of image between them.
fn both(check: impl Fn(&Sid, u32, &str)) {
    let sid = Sid::new();
    check(&sid, USER, &sid.sif());
    check(&sid, 0, &sid.tree());
}

fn at_terminal(command: &Command) -> Terminal {
    Terminal::start(command).unwrap()
}

/// Tried with a process inside whose terminal is not made its controlling one: `/dev/tty` cannot be opened.
#[test]
fn a_container_with_tty_has_a_terminal_of_its_own() {
    both(|sid, user, image| {
        let script = "test -t 0 && test -t 1 && test -t 2 && echo $TERM > /dev/tty; exit 3";
        let text = pod("tty", image, &[&format!("command: [sh, -c, '{script}']"), "tty: true"]);
        let said = sid.run(user, &["run", "--quiet", &sid.file("tty.yaml", &text)]);
        assert_eq!(said.code, 3, "{said:#?}");
        assert!(said.out.contains("xterm"), "{said:#?}");
    });
}

#[test]
fn exec_at_a_terminal_passes_keys_sizes_and_the_code() {
    both(|sid, user, image| {
        let manifest = sid.file("idle.yaml", &pod("idle", image, &["command: [sleep, '1000']"]));
        assert_eq!(sid.run(user, &["run", "--detach", &manifest]).code, 0);
        // A signal tells the new size and may come after the keys; without it the loop, and so the test, does not end.
        let script = "tty=$(readlink /proc/self/fd/0); stty size; read line; echo got $line; \
                      until stty size | grep '24 80'; do sleep 0.05; done; sleep 1000 & wait; exit 9";
        let mut terminal = at_terminal(&sid.outrigger(user, &["exec", "-it", "idle", "--", "sh", "-c", script]));
        terminal.shows("40 100\r\n").unwrap();
        terminal.resize(80, 24).unwrap();
        terminal.type_keys("keys\r").unwrap();
        assert!(terminal.shows("got keys\r\n").unwrap().contains("keys\r\n"), "what is typed is shown");
        terminal.shows("24 80\r\n").unwrap();
        terminal.type_keys("\u{3}").unwrap();
        let (status, text) = terminal.ended().unwrap();
        assert_eq!(status.code(), Some(130), "Ctrl-C reaches the command: {text}");
        assert_eq!(sid.run(user, &["stop", "idle"]).code, 0);
        assert_eq!(sid.processes(), [""; 0]);
    });
}

#[test]
fn attach_at_a_terminal_is_the_containers_own() {
    both(|sid, user, image| {
        let script = "while read line; do echo got $line; [ $line != end ] || exit 4; done";
        let fields = [&format!("command: [sh, -c, '{script}']"), "tty: true", "stdin: true"];
        let manifest = sid.file("talks.yaml", &pod("talks", image, &fields));
        assert_eq!(sid.run(user, &["run", "--detach", &manifest]).code, 0);
        let attach = || at_terminal(&sid.outrigger(user, &["attach", "-it", "talks"]));
        let mut terminal = attach();
        terminal.type_keys("one\r").unwrap();
        terminal.shows("got one").unwrap();
        terminal.type_keys("\u{10}\u{11}").unwrap();
        let (left, text) = terminal.ended().unwrap();
        assert_eq!(left.code(), Some(0), "Ctrl-P Ctrl-Q leaves: {text}");
        let mut again = attach();
        again.type_keys("end\r").unwrap();
        again.shows("got end").unwrap();
        let (ended, text) = again.ended().unwrap();
        assert_eq!(ended.code(), Some(4), "{text}");
    });
}

#[test]
fn standard_input_reaches_a_container_through_attach() {
    both(|sid, user, image| {
        let fields = ["command: [sh, -c, 'cat; echo and out']", "stdin: true", "stdinOnce: true"];
        let manifest = sid.file("reads.yaml", &pod("reads", image, &fields));
        assert_eq!(sid.run(user, &["run", "--detach", &manifest]).code, 0);
        let mut attach = sid.outrigger(user, &["attach", "-i", "reads"]);
        let mut child = attach.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"over\n").unwrap();
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!((said.code, said.out.as_str()), (0, "over\nand out\n"), "{said:#?}");
    });
}
