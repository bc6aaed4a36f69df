//! Signals end every command, also as the first process of a container.

use std::process::Command;

use crate::tool::Tool;
use testkit::aws::unique;

#[tokio::test]
async fn sigterm_and_ctrl_c_end_a_command_that_is_the_first_process() {
    // Nothing is written to it, so the command waits for its input.
    let silent = std::env::temp_dir().join(unique("pipe"));
    assert!(
        Command::new("mkfifo")
            .arg(&silent)
            .status()
            .unwrap()
            .success()
    );
    for signal in ["TERM", "INT"] {
        let infer = format!("infer {}", silent.display());
        match Tool::bare().start_in_container(&infer).await {
            Some(running) => running.signal_in_container(signal).await,
            None => eprintln!("not tried: this machine allows for no container"),
        }
    }
    std::fs::remove_file(&silent).unwrap();
}
