//! What the long help of commands ends with.

pub(super) const EXIT_CODES: &str = "\
Exit status:
  0  answered
  1  could not answer: a service failed or could not be reached, or a file could not be written
  2  the command line, the configuration or a file is wrong
  3  answered in part: some rows of a file were left out, and are named on standard error
  4  what was followed was cancelled
  5  it was left before its end, or its run was lost: the printed command goes on with it";

pub(super) const RANK_EXAMPLES: &str = "\
Examples:
  finepick rank --curves curves.csv --budget-size 25600 --full-size 1638400
  finepick rank --curves curves.csv --budget-size 25600 --full-size 1638400 --policy local-trend --plot ranking.svg
  finepick rank --curves curves.csv --budget-ratio 1/64 --full-size 1638400 --where family=OPT --where 'parameters<=3e9'
  producer | finepick rank --curves - --budget-size 6400 --full-size 100000 --format json";

pub(super) const FIT_EXAMPLES: &str = "\
Examples:
  finepick fit --curves curves.csv --predict 1638400
  finepick fit --curves curves.csv --law power --objective huber --max-size 51200 --format json
  finepick fit --curves curves.csv --law rectified-joint --factor parameters --group-by family";

pub(super) const BENCHMARK_EXAMPLES: &str = "\
Examples:
  finepick benchmark --curves a.csv --curves b.csv --full-size 1638400 --policies ats,rwl,zero-shot
  finepick benchmark --curves a.csv --full-size 1638400 --budget-ratios 1/8,1/64 --policies geometric --budget-fraction 0.25";

pub(super) const SIMULATE_EXAMPLES: &str = "\
Examples:
  finepick simulate --curves curves.csv --full-size 1638400 --budget-ratio 1/64 --budget-fraction 0.25 --policy halving
  finepick simulate --curves curves.csv --full-size 1638400 --budget-examples 400000 --policy geometric --history other.csv";

pub(super) const EVALUATE_EXAMPLES: &str = "\
Examples:
  finepick evaluate --model zoo/gpt2-verse-m --data held-out.jsonl
  finepick evaluate --model zoo/gpt2-verse-m --adapter tuned/ --data held-out.jsonl --format json";

pub(super) const TRAIN_EXAMPLES: &str = "\
Exit status, where it differs:
  0  the run has SUCCEEDED (with --detach: it was accepted)
  1  it has FAILED, or a call did
  4  it was CANCELLED
  5  it was PREEMPTED or LOST: create a new one

^C asks whether to cancel the run (on a terminal; elsewhere it cancels it). A second ^C cancels it.

Examples:
  finepick train --model zoo/gpt2-verse-m --data data.jsonl --size 200 --method lora --output tuned/
  finepick train --endpoint http://127.0.0.1:50060 --model hf://EleutherAI/pythia-160m --data data.jsonl --size 0,200,400
  finepick train --endpoint URL --trainer gpu-a --model m --data d --size 1000 --method lora --lora-rank 16 --format json";

pub(super) const SELECT_EXAMPLES: &str = "\
Without --endpoint everything is done here, and kept in --state-dir: a command that was killed goes on when it is given again with the same
--id, or by `finepick select --resume ID`.

^C leaves the selection as it is (--on-interrupt cancel: ends it); a second ^C ends the command at once.

Exit status, where it differs:
  0  there is a choice (with --detach: it was accepted)
  1  the selection ended without one
  4  it was cancelled
  5  it was left before its end

Examples:
  finepick select --models zoo --data data.jsonl --budget-share 10%
  finepick select --model a=models/a --model b=models/b --data data.jsonl --method full --method lora:rank=16 --plot selection.svg
  finepick select --models zoo --data data.jsonl --dry-run
  finepick select --endpoint http://127.0.0.1:50060 --model hf://org/a --model hf://org/b --data s3.jsonl --deadline 2h --detach";
