//! The async runtime of a program.

use std::future::Future;
use std::process::ExitCode;

/// Worker threads of a node program: two keep one slow task from delaying a probe, more would only cost memory.
const WORKER_THREADS: usize = 2;

/// Blocking threads (files, name look-ups); tokio's default of 512 lets one burst cost a gigabyte of stacks.
const BLOCKING_THREADS: usize = 16;

/// Runs a program to its end on a runtime of its own; the error chain is logged once and becomes exit code 1.
pub fn block_on<F>(name: &str, program: F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name(name)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(program = name, %error, "cannot start the async runtime");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(program);
    // Blocking tasks (a hung file system, a name look-up) must not hold back the end of the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(program = name, "{error:#}");
            ExitCode::FAILURE
        }
    }
}
