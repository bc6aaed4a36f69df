//! `man` and `completions`.

use crate::tool::Tool;

/// `man` builds all commands, and clap checks in a debug build that they are consistent.
#[tokio::test]
async fn the_man_pages_and_completions_are_those_of_the_commands() {
    for (command, text) in [
        ("man", "sqs\\-to\\-postgres\\-drain"),
        ("man drain", "metrics\\-addr"),
        ("completions bash", "--metrics-addr"),
    ] {
        let ended = Tool::bare().run(command).await;
        assert_eq!(ended.code, 0, "{command}: {}", ended.err);
        assert!(ended.out.contains(text), "{command}: {}", ended.out);
    }
    let unknown = Tool::bare().run("man dance").await.exits(2);
    let reason = "error: unknown command \"dance\": see `sqs-to-postgres --help`\n";
    assert_eq!(unknown.err, reason);
}
