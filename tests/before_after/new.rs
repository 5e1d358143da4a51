//! The same scenarios here.

use tokio_postgres::Client;

use super::{Count, Scenario};
use crate::support::platform::{Call, Platform, ask, release_kernel, reserve, reserve_batch};
use crate::support::{backend_pid, wait_for};

async fn commit(client: &Client) {
    client.batch_execute("commit").await.expect("a transaction can commit");
}

fn session() -> Call {
    Call::new("AK", &["a1"])
}

/// Plays a scenario, and tells what runs and what is counted at its end.
pub(super) async fn play(scenario: Scenario) -> Count {
    let limit = match scenario {
        Scenario::LimitOne => 1,
        Scenario::Loop | Scenario::TwoManagers => 3,
        Scenario::Kernels => 9,
        _ => 2,
    };
    let platform = Platform::with_limit(limit).await;
    match scenario {
        Scenario::Retry => retry(&platform).await,
        Scenario::Loop => {
            reserve(&platform.admin, &session()).await.expect("answered");
            let pending = [session(), session(), session(), session()];
            reserve_batch(&platform.admin, &pending).await.expect("answered");
        }
        Scenario::TwoManagers => two_managers(&platform).await,
        Scenario::Crash => crash(&platform).await,
        Scenario::Kernels => {
            let call = Call::new("AK", &["a1", "a1", "a2"]);
            reserve(&platform.admin, &call).await.expect("answered");
            platform.run("select occupancy.recalc_concurrency('AK')").await;
        }
        Scenario::Recalculation => {
            let manager = platform.begin().await;
            reserve(&manager, &session()).await.expect("answered");
            let recalculation = platform
                .blocked(|client| async move {
                    ask(&client, "select count(*) from occupancy.recalc_concurrency('AK')").await
                })
                .await;
            commit(&manager).await;
            recalculation.await.expect("the call ended").expect("answered");
        }
        Scenario::LimitOne => {
            for call in [session(), session()] {
                reserve(&platform.admin, &call).await.expect("answered");
            }
        }
        Scenario::EndsByItself => {
            let answer = reserve(&platform.admin, &session()).await.expect("answered");
            // That is all that an agent knows.
            release_kernel(&platform.admin, answer.kernel_ids()[0]).await.expect("answered");
        }
    }
    platform.assert_sound().await;
    let runs = platform.ask("select count(*) from occupancy.sessions where status = 'RUNNING'");
    let runs = runs.await.parse().expect("a count");
    Count { runs, counted: platform.used("AK").await }
}

async fn retry(platform: &Platform) {
    let call = session();
    for end in ["rollback", "rollback", "commit"] {
        let manager = platform.begin().await;
        let answer = reserve(&manager, &call).await.expect("answered");
        assert_eq!((answer.verdict().as_str(), answer.used), ("admitted", Some(1)));
        manager.batch_execute(end).await.expect("ended");
    }
    // Once more, as somebody does who never got the last answer.
    let answer = reserve(&platform.admin, &call).await.expect("answered");
    assert_eq!(answer.verdict(), "already_admitted");
}

/// The second decides while the first has decided but not committed.
async fn two_managers(platform: &Platform) {
    reserve(&platform.admin, &session()).await.expect("answered");
    let first = platform.begin().await;
    reserve_batch(&first, &[session(), session()]).await.expect("answered");
    let second = platform
        .blocked(|client| async move { reserve_batch(&client, &[session(), session()]).await })
        .await;
    commit(&first).await;
    let answers = second.await.expect("the call ended").expect("answered");
    assert!(answers.iter().all(|answer| answer.verdict() == "rejected concurrency_limit"));
}

/// The manager has its answer, and dies before its transaction commits.
async fn crash(platform: &Platform) {
    let manager = platform.begin().await;
    let answer = reserve(&manager, &session()).await.expect("answered");
    assert_eq!(answer.verdict(), "admitted");
    let pid = backend_pid(&manager).await;
    drop(manager);
    let gone = format!("select not exists (select from pg_stat_activity where pid = {pid})");
    wait_for("the backend to notice", async || platform.ask(&gone).await == "true").await;
}
