//! stdin, stdout, stderr and terminals.

use std::os::fd::AsFd;
use std::sync::Arc;

use outrigger_launcher::{ExecRequest, Launcher, Output, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Bench, finish, plan, read};

/// Reads the container's stdout until `word` has come; answers all of it.
pub async fn wait_for(running: &mut Running, word: &str) -> String {
    let Output::Pipes { stdout, .. } = &running.output else { panic!("the host launcher answers pipes") };
    let (stdout, word) = (stdout.try_clone().unwrap(), word.to_owned());
    let heard = tokio::task::spawn_blocking(move || {
        let (mut seen, mut buffer) = (String::new(), [0; 256]);
        while !seen.contains(&word) {
            match rustix::io::read(stdout.as_fd(), &mut buffer) {
                Ok(0) | Err(_) => panic!("the output ended before {word:?}: {seen:?}"),
                Ok(count) => seen.push_str(&String::from_utf8_lossy(&buffer[..count])),
            }
        }
        seen
    });
    heard.await.unwrap()
}

#[tokio::test]
async fn stdout_and_stderr_are_apart() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    let running = bench.start(&plan, &["sh", "-c", "echo out; echo err >&2"]).await.unwrap();
    let Output::Pipes { stdout, stderr: Some(stderr) } = running.output else { panic!("two pipes") };
    running.ended.await;
    assert_eq!((read(stdout).as_str(), read(stderr).as_str()), ("out\n", "err\n"));
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn stdin_reaches_the_container_and_ends_when_it_is_dropped() {
    let (bench, mut plan) = (Bench::new(), plan());
    plan.containers[0].stdin = true;
    let plan = Arc::new(plan);
    bench.prepare(&plan, &[]).await;
    let mut running = bench.start(&plan, &["cat"]).await.unwrap();
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(b"over and out").await.unwrap();
    drop(stdin);
    let (text, exit) = finish(running).await;
    assert_eq!((text.as_str(), exit.code), ("over and out", 0));
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_container_with_a_terminal_controls_it() {
    let (bench, mut plan) = (Bench::new(), plan());
    plan.containers[0].tty = true;
    let plan = Arc::new(plan);
    let (text, exit) = bench.shell(&plan, "test -t 0 && test -t 2 && echo $TERM > /dev/tty").await;
    assert_eq!((text.as_str(), exit.code), ("xterm\r\n", 0));
}

#[tokio::test]
async fn a_command_with_a_terminal_knows_its_size() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    let running = bench.start(&plan, &["sleep", "1000"]).await.unwrap();
    let command = ["sh", "-c", "stty size; read line; stty size"].map(str::to_owned).to_vec();
    let request = ExecRequest { command, stdin: true, terminal: Some((100, 40)) };
    let mut session = bench.launcher.exec(&running.id, request).await.unwrap();
    let mut first = [0; 8];
    session.stdout.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"40 100\r\n");
    session.terminal.unwrap().resize(80, 24);
    session.stdin.unwrap().write_all(b"go\n").await.unwrap();
    let mut rest = String::new();
    session.stdout.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("24 80\r\n"), "{rest:?}");
    assert_eq!(session.ended.await.unwrap(), 0);
    bench.launcher.remove(&plan.uid).await.unwrap();
}
