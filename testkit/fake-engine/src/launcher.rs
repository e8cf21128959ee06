//! One caller's connection to the engine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::{
    BoxFuture, ContainerId, ExecRequest, ExecSession, Image, ImageError, ImageState, LaunchError, Launcher, Output,
    PodRequest, PreparedPod, Running, Shortfall, StartError, StartRequest, Usage,
};
use outrigger_pod_core::life::{Exit, Found, ImageProblem, PodAddresses, StartProblem};
use outrigger_pod_core::plan::{ContainerPlan, PodPlan};
use tokio::sync::watch;

use crate::engine::{Engine, State};
use crate::program::{Program, Step};

/// A launcher whose containers are an [`Engine`]'s.
pub struct EngineLauncher {
    pub(crate) engine: Engine,
}

impl EngineLauncher {
    fn running(&self, id: &ContainerId) -> Result<watch::Sender<State>, LaunchError> {
        let world = self.engine.world();
        let state = world.containers.get(id).map(|container| container.state.clone());
        state.filter(|state| state.borrow().exit.is_none()).ok_or_else(|| LaunchError::Gone(id.clone()))
    }

    fn join(&self, id: &ContainerId) -> Result<Running, LaunchError> {
        let gone = || LaunchError::Gone(id.clone());
        let output = self.engine.listen(id).ok_or_else(gone)?;
        let world = self.engine.world();
        let container = world.containers.get(id).ok_or_else(gone)?;
        let mut state = container.state.subscribe();
        let ended = async move {
            let exit = state.wait_for(|state| state.exit.is_some()).await.ok().and_then(|state| state.exit);
            exit.unwrap_or(Exit {
                code: 137,
                signal: Some(9),
                out_of_memory: false,
                started_at: None,
                finished_at: None,
            })
        };
        Ok(Running {
            id: id.clone(),
            started_at: container.started_at,
            user: None,
            output: Output::Messages(output),
            stdin: None,
            terminal: None,
            ended: Box::pin(ended),
        })
    }
}

impl Launcher for EngineLauncher {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn shortfalls(&self, _plan: &PodPlan) -> Vec<Shortfall> {
        Vec::new()
    }

    fn prepare(&self, request: PodRequest) -> BoxFuture<'_, Result<PreparedPod, LaunchError>> {
        Box::pin(async move {
            let mut world = self.engine.world();
            if world.refusals > 0 {
                world.refusals -= 1;
                let what = "make the pod: the engine was told to refuse".to_owned();
                return Err(LaunchError::Unsupported { launcher: "engine", what });
            }
            world.pods.insert(request.plan.uid.clone());
            let here = vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))];
            let addresses = PodAddresses { pod: here.clone(), host: here };
            Ok(PreparedPod { addresses, memory_volumes: BTreeMap::new() })
        })
    }

    fn remove<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            let mut world = self.engine.world();
            world.pods.remove(uid);
            world.containers.retain(|_, container| container.uid != uid);
            Ok(())
        })
    }

    fn image<'a>(&'a self, container: &'a ContainerPlan) -> BoxFuture<'a, Result<ImageState, ImageError>> {
        let state = match container.image.as_str() {
            "absent" | "far" => ImageState::Absent,
            _ => ImageState::Present(image(container)),
        };
        Box::pin(std::future::ready(Ok(state)))
    }

    fn pull<'a>(&'a self, container: &'a ContainerPlan) -> BoxFuture<'a, Result<Image, ImageError>> {
        Box::pin(async move {
            if container.image == "absent" {
                return Err(ImageError { problem: ImageProblem::Pull, message: "the image is absent".to_owned() });
            }
            // Far away: it takes its time.
            tokio::time::sleep(Duration::from_secs(if container.image == "far" { 10 } else { 0 })).await;
            Ok(image(container))
        })
    }

    fn start(&self, request: StartRequest) -> BoxFuture<'_, Result<Running, StartError>> {
        Box::pin(async move {
            let StartRequest { plan, instance, command, args, env, message_file, .. } = request;
            let words: Vec<String> = command.into_iter().chain(args).collect();
            let program = Program::read(&words, message_file).ok_or_else(|| StartError {
                problem: StartProblem::Exec,
                message: format!("exec: {:?}: executable file not found in $PATH", words.first()),
                exit_code: Some(127),
                id: None,
            })?;
            let found = self.engine.found(&plan.uid).into_iter().find(|found| found.instance == instance);
            let id = match found {
                Some(found) => ContainerId(found.id),
                None => self.engine.begin((&plan.uid, &instance), program, env),
            };
            self.join(&id).map_err(|error| StartError::new(StartProblem::Create, error.to_string()))
        })
    }

    fn adopt<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Running, LaunchError>> {
        Box::pin(async move { self.join(id) })
    }

    fn stop<'a>(
        &'a self,
        id: &'a ContainerId,
        signal: &'a str,
        grace: Duration,
    ) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            let signal = if signal == "SIGKILL" || grace.is_zero() { 9 } else { 15 };
            if let Ok(state) = self.running(id) {
                state.send_modify(|state| state.stop(signal, grace));
            }
            Ok(())
        })
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        request: ExecRequest,
    ) -> BoxFuture<'a, Result<ExecSession, LaunchError>> {
        Box::pin(async move {
            self.running(id)?;
            let steps = Program::read(&request.command, "/dev/null".into()).map(|program| program.steps);
            let said = steps.iter().flatten().filter_map(|step| match step {
                Step::Write(_, text) => Some(text.as_str()),
                _ => None,
            });
            let stdout = Box::new(std::io::Cursor::new(said.collect::<String>().into_bytes()));
            let ended = async move {
                for step in steps.iter().flatten() {
                    match step {
                        Step::Sleep(time) => tokio::time::sleep(*time).await,
                        Step::Exit(code) => return Ok(*code),
                        _ => (),
                    }
                }
                let what = format!("exec: {:?}: executable file not found in $PATH", request.command.first());
                if steps.is_some() { Ok(0) } else { Err(LaunchError::NotExecuted { what, code: 127 }) }
            };
            Ok(ExecSession { stdin: None, stdout, stderr: None, terminal: None, ended: Box::pin(ended) })
        })
    }

    fn usage<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Usage, LaunchError>> {
        Box::pin(async move { self.running(id).map(|_| Usage { cpu: Duration::from_millis(5), memory: 1 << 20 }) })
    }

    fn list<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<Vec<Found>, LaunchError>> {
        Box::pin(async move { Ok(self.engine.found(uid)) })
    }
}

/// A launcher is shared by the runners of a process.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<EngineLauncher>>();
};

fn image(container: &ContainerPlan) -> Image {
    Image { id: format!("engine/{}", container.image), size: 0 }
}
