//! The loop of a device: it waits for what comes next, lets the device act, and shows how it is.

use std::time::Duration;

use sim_network::{NetError, Response, StreamEvent, StreamResponse};
use tokio::time::{Instant, sleep_until};

use super::session::{finished, next_event};
use super::state::{Actor, AfterStep, Process};
use crate::command::Command;
use crate::database::Database;

/// What a device waits for.
enum Wakeup {
    Command(Option<Command>),
    Upload(Result<Response, NetError>),
    WriteCheckpoint(Result<Response, NetError>),
    Fence(Result<Response, NetError>),
    Opened(Result<StreamResponse, NetError>),
    Stream(StreamEvent),
    Timer,
}

impl Actor {
    /// Runs until [`Command::Stop`]; gives the database back, and the time spent in SQLite.
    pub async fn run(mut self) -> (Option<Database>, Duration) {
        loop {
            let wakeup = self.wait().await;
            let result = match wakeup {
                Wakeup::Command(None | Some(Command::Stop)) => return self.stop(),
                Wakeup::Command(Some(command)) => self.command(command),
                Wakeup::Upload(result) => self.upload_answered(result),
                Wakeup::WriteCheckpoint(result) => self.write_checkpoint_answered(result),
                Wakeup::Fence(result) => {
                    self.fence_answered(result);
                    Ok(AfterStep::Continue)
                }
                Wakeup::Opened(result) => self.stream_opened(result),
                Wakeup::Stream(event) => self.stream_event(event),
                Wakeup::Timer => self.timer(),
            };
            match result {
                Ok(AfterStep::Continue) => {}
                Ok(AfterStep::Crash) => self.crash(),
                Err(error) => self.report_failure(&error),
            }
            self.publish_status();
        }
    }

    async fn wait(&mut self) -> Wakeup {
        let timer = self.next_timer();
        let commands = &mut self.context.commands;
        let fence = &mut self.fence;
        let session = match &mut self.process {
            Process::Running(session) if !session.is_suspended => session,
            _ => {
                return tokio::select! {
                    biased;
                    command = commands.recv() => Wakeup::Command(command),
                    () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => Wakeup::Timer,
                };
            }
        };
        tokio::select! {
            biased;
            command = commands.recv() => Wakeup::Command(command),
            result = finished(&mut session.upload) => Wakeup::Upload(result),
            result = finished(&mut session.write_checkpoint) => Wakeup::WriteCheckpoint(result),
            result = finished(fence) => Wakeup::Fence(result),
            result = finished(&mut session.opening) => Wakeup::Opened(result),
            event = next_event(&mut session.stream) => Wakeup::Stream(event),
            () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => Wakeup::Timer,
        }
    }

    fn stop(self) -> (Option<Database>, Duration) {
        match self.process {
            Process::Running(session) => {
                let (database, spent) = session.host.stop();
                (Some(database), self.sqlite_time + spent)
            }
            Process::Down { database, .. } => (database, self.sqlite_time),
        }
    }
}
