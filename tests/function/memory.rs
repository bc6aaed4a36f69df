//! The memory of an environment that lives long.

use testkit::batch::{Batch, login};
use testkit::{Database, Setup, memory_kib};

const INVOCATIONS: usize = 20_000;

/// Each invocation has a trace id of its own, and an id that Lambda wants to see again. If 50 bytes of an invocation
/// remained, the memory would grow by this much.
const TOLERATED_KIB: u64 = 1_000;

#[tokio::test]
async fn twenty_thousand_invocations_leave_no_memory_behind() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let event = Batch::new().body("a", login()).event();
    for _ in 0..INVOCATIONS / 10 {
        function.invoke(&event).await.assert_none_failed();
    }
    let before = memory_kib(function.id(), "RssAnon");
    for _ in 0..INVOCATIONS {
        function.invoke(&event).await.assert_none_failed();
    }
    let after = memory_kib(function.id(), "RssAnon");
    assert!(
        after < before + TOLERATED_KIB,
        "{before} KiB before, {after} KiB after {INVOCATIONS} invocations"
    );
}
