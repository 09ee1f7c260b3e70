"use strict";

// Keys of what is no class: Enter keeps, → skips, Backspace undoes, / finds a class. Letters and digits are the classes'.
const element = (id) => document.getElementById(id);
const page = { classes: [], blind: false, file: "", state: null, busy: false };

async function ask(step, body) {
  const request = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(step, request);
  } catch {
    throw new Error("The program behind this page has ended: start python -m stages.review again. Nothing is lost.");
  }
  const type = response.headers.get("Content-Type") || "";
  if (!type.startsWith("application/json")) throw new Error(await response.text());
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// One step at a time: a key pressed before the next document is there would decide about one that nobody has seen.
async function act(step, body) {
  if (page.busy) return;
  page.busy = true;
  try {
    show(await ask(step, body));
  } catch (fault) {
    element("alert").textContent = fault.message;
  } finally {
    page.busy = false;
  }
}

const decide = (label) => page.state.item && act("decide", { document_id: page.state.item.document_id, label });
const skip = () => page.state.item && act("skip", { document_id: page.state.item.document_id });
const undo = () => page.state.can_undo && act("undo", {});
const keep = () => !page.blind && page.state.item && decide(page.state.item.given);

function show(state) {
  page.state = state;
  const { item, decided, skipped, total } = state;
  element("progress").max = total;
  element("progress").value = decided;
  element("count").textContent = `${decided} of ${total} decided` + (skipped ? `, ${skipped} skipped` : "");
  element("alert").textContent = state.refused ? state.message : "";
  element("status").textContent = state.refused ? "" : state.message;
  element("title").textContent = item ? item.title : "That was the last one";
  element("name").textContent = item ? shownName(item) : "";
  element("text").textContent = item ? item.text : ending(skipped);
  element("question").textContent = item ? question(item) : "";
  element("classes").hidden = !item;
  element("filter").hidden = !item || page.classes.every(({ key }) => key);
  element("filter").value = "";
  element("skip").hidden = !item;
  element("keep").hidden = !item || page.blind;
  element("keep").lastElementChild.textContent = item ? `Keep ${item.given}` : "";
  element("undo").disabled = !state.can_undo;
  if (item) showClasses(item);
  // Where not all classes fit, those in question should be seen.
  element("classes").querySelector(".marked")?.scrollIntoView({ block: "nearest" });
  element("document").scrollTop = 0;
  // So that the arrows scroll the text, and Enter is no second press of the button that was last.
  element("document").focus({ preventScroll: true });
}

// Folders are often named by topic, which who labels blind should not see.
function shownName(item) {
  return page.blind ? item.document_id.split("/").pop() : item.document_id;
}

function question(item) {
  if (page.blind) return "What is it about?";
  const sure = `${item.suggested} (${Math.round(100 * item.confidence)} %)`;
  if (item.suspect) return `Labelled ${item.given}; the model thinks ${sure}.`;
  return `Labelled ${item.given}; the model is unsure, its best guess is ${sure}.`;
}

function ending(skipped) {
  const back = skipped ? `What was skipped (${skipped}) comes again when you start the program anew.\n\n` : "";
  const next = page.blind ? "measures annotator and model against them" : "trains with them";
  return `${back}Your decisions are in ${page.file}; "git diff" shows them, "dvc repro" ${next}.`;
}

function showClasses(item) {
  element("classes").replaceChildren(...page.classes.map((each) => classButton(each, item)));
}

function classButton({ name, description, key }, item) {
  const button = document.createElement("button");
  const notes = [name === item.given && "now", name === item.suggested && "model"].filter(Boolean);
  button.type = "button";
  button.dataset.name = name;
  button.title = description;
  button.classList.toggle("marked", notes.length > 0);
  button.append(part("kbd", key), part("span", name), part("span", notes.join(", "), "note"));
  if (description) button.append(part("small", description));
  button.addEventListener("click", () => decide(name));
  const row = document.createElement("li");
  row.append(button);
  return row;
}

function part(tag, text, style = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = style;
  made.hidden = !text;
  return made;
}

// Another layout than the Latin one, or digits behind Shift: what counts is where the key lies.
function classKey(event) {
  if (/^[a-z0-9]$/i.test(event.key)) return event.key.toLowerCase();
  const place = /^(?:Key|Digit|Numpad)([A-Z0-9])$/.exec(event.code);
  return place && event.key.length === 1 ? place[1].toLowerCase() : "";
}

function onKey(event) {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.isComposing || !page.state) return;
  const onButton = event.target instanceof HTMLButtonElement;
  if (event.target === element("filter")) return;
  const acts = { ArrowRight: skip, Backspace: undo, ...(onButton ? {} : { Enter: keep }) };
  const label = page.classes.find(({ key }) => key && key === classKey(event));
  if (event.key === "/" && !element("filter").hidden) {
    element("filter").focus();
  } else if (acts[event.key]) {
    acts[event.key]();
  } else if (label) {
    decide(label.name);
  } else {
    return;
  }
  event.preventDefault();
}

// While a class is looked for: Enter takes the first that is left, Escape goes back to the text.
function onFilterKey(event) {
  const left = [...element("classes").children].filter((row) => !row.hidden);
  if (event.key === "Enter" && left.length) decide(left[0].firstElementChild.dataset.name);
  else if (event.key === "Escape") show(page.state);
  else return;
  event.preventDefault();
}

function onFilter() {
  const wanted = element("filter").value.trim().toLowerCase();
  for (const row of element("classes").children) {
    row.hidden = !row.firstElementChild.dataset.name.toLowerCase().includes(wanted);
  }
}

async function start() {
  try {
    const { classes, blind, file, state } = await ask("start");
    Object.assign(page, { classes, blind, file });
    element("task").textContent = `${blind ? "Labelling blind" : "Reviewing labels"} → ${file}`;
    document.title = element("task").textContent;
    show(state);
  } catch (fault) {
    element("alert").textContent = fault.message;
  }
}

document.addEventListener("keydown", onKey);
element("filter").addEventListener("keydown", onFilterKey);
element("filter").addEventListener("input", onFilter);
element("keep").addEventListener("click", keep);
element("skip").addEventListener("click", skip);
element("undo").addEventListener("click", undo);
start();
