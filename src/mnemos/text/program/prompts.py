"""What the control unit says to a worker. A run keeps the version that it began with in its journal, so that its contexts can be built again."""

from __future__ import annotations

VERSION = 1

SYSTEM = (
    "You carry out one step of a larger program. All state is in files: nothing that you say is kept, only what you write to files. "
    "You see the names of the files, not what is in them: read what you need. Act through the tools. "
    "When the step is done and checked, call step_complete."
)
PLANNER = (
    "You plan the work on a task as a list of steps, which are carried out one after the other by workers who see nothing but their own step and "
    "the files. Call the tool plan, once, with at most {steps} steps. Each step is a long paragraph that repeats, word for word, every "
    "requirement of the task that bears on it, and ends with what is to be checked. Every requirement stands in some step."
)
REFLECT = "Look at your plan again: which requirements of the task stand in no step? Call the tool plan once more, with the whole improved list."
REPLAN = "That was no plan: {error} Call the tool plan with a list of steps."
TASK = "The task as a whole, which other steps work on too:\n{task}"
STEP = "Step {number} of {total}, which is yours:\n{text}"
FILES = "Files that there are ({count}): {names}"
NO_FILES = "There are no files yet."
BEFORE = "From before: {summary}"
TESTS = "Write tests for what you make, in files named test_*.py, and run them with pytest_files."
CONTINUE = "Is the step complete? If so, call step_complete. If not, go on."
CORRECT = "The step is not complete: the checks fail. Correct the code, conditioned on these files.\n{errors}"
SUMMARY = "The step is complete. Say in one or two sentences what the next step needs to know of it. Call no tool."
NOTE = (
    "Your context is full and is about to be cleared; the files stay. "
    "Say in two sentences what is done of this step and what is left. Call no tool."
)
MORE_NAMES = "… and {count} more"
LISTED = " (list_files shows them)"
CUT_TASK = "[… the task is longer than fits here; your step repeats what bears on it]"
CUT_RESULT = "\n[… cut: this result of {whole:,} characters is larger than fits into the context; the first {shown:,} are shown]"
CUT_WORDS = " […]"
