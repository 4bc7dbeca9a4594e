"""Write the labelled corpus: output as well-known scripts print it, beside what a person would read from it.

`python tests/unit/inside/corpus/generate.py` writes `*.log` and `labels.json` anew. The labels come from the numbers
that were printed, never from the parser. Formats follow the print statements of the scripts named at each function.

`points` of a label: metric name to points `[step, value]`; step None where the line says no position. `also`: points
that
are right too, but drawn over within a tenth of a second, so that they may be missed. Names by the rule of
`dstui/inside/parse.py`: lower case, words joined by `_`, unit at the end, `val`, `test` or `eval` of the line in front.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent

Points = dict[str, list[tuple[int | None, float]]]


class Log:
    """One log under construction: `line` prints, `point` says what a person reads from it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.text = ""
        self.points: Points = {}
        self.overdrawn: Points = {}

    def line(self, text: str = "", end: str = "\n") -> None:
        self.text += text + end

    def point(self, name: str, step: int | None, printed: str | float) -> None:
        self.points.setdefault(name, []).append((step, float(printed)))

    def also(self, name: str, step: int | None, printed: str | float) -> None:
        self.overdrawn.setdefault(name, []).append((step, float(printed)))

    def loss(self, progress: float, scale: float = 2.3) -> float:
        return scale * math.exp(-2 * progress) * (1 + 0.05 * self.random.gauss(0, 1)) + 0.05

    def accuracy(self, progress: float) -> float:
        return min(0.999, 0.98 - 0.5 * math.exp(-3 * progress) + 0.01 * self.random.random())


def pytorch_mnist(log: Log) -> None:
    """pytorch/examples mnist/main.py."""
    total, per_batch = 4000, 64
    for epoch in range(1, 4):
        for batch in range(0, 63, 10):
            place = batch * per_batch
            value = f"{log.loss((epoch - 1) / 3 + batch / 190):.6f}"
            percent = f"{100.0 * batch / 63:.0f}"
            log.line(f"Train Epoch: {epoch} [{place}/{total} ({percent}%)]\tLoss: {value}")
            log.point("loss", (epoch - 1) * total + place, value)
        loss, correct = f"{log.loss(epoch / 3, 0.4):.4f}", int(1000 * log.accuracy(epoch / 3))
        log.line(f"\nTest set: Average loss: {loss}, Accuracy: {correct}/1000 ({correct / 10:.0f}%)\n")
        log.point("test_average_loss", None, loss)
        log.point("test_accuracy", None, correct / 1000)


def word_language_model(log: Log) -> None:
    """pytorch/examples word_language_model/main.py."""
    rate, total = 20.0, 2983
    for epoch in range(1, 5):
        for batch in range(200, 1001, 200):
            loss = log.loss((epoch - 1) / 4 + batch / 4000, 7.6)
            milliseconds = f"{50 + 5 * log.random.random():5.2f}"
            shown, perplexity = f"{loss:5.2f}", f"{math.exp(loss):8.2f}"
            log.line(
                f"| epoch {epoch:3d} | {batch:5d}/{total:5d} batches | lr {rate:02.2f} | ms/batch {milliseconds} | "
                f"loss {shown} | ppl {perplexity}"
            )
            step = (epoch - 1) * total + batch
            for name, value in (
                ("lr", f"{rate:.2f}"),
                ("ms/batch", milliseconds),
                ("loss", shown),
                ("ppl", perplexity),
            ):
                log.point(name, step, value)
        log.line("-" * 89)
        loss = log.loss(epoch / 4, 6)
        seconds = f"{160 + 4 * log.random.random():5.2f}"
        log.line(
            f"| end of epoch {epoch:3d} | time: {seconds}s | valid loss {loss:5.2f} | valid ppl {math.exp(loss):8.2f}"
        )
        log.line("-" * 89)
        log.point("time_s", epoch, seconds)
        log.point("valid_loss", epoch, f"{loss:.2f}")
        log.point("valid_ppl", epoch, f"{math.exp(loss):.2f}")
    log.line("=" * 89)
    log.line("| End of training | test loss  4.98 | test ppl   145.50")
    log.line("=" * 89)
    log.point("test_loss", None, "4.98")
    log.point("test_ppl", None, "145.50")


def imagenet(log: Log) -> None:
    """pytorch/examples imagenet/main.py: meters with averages in parentheses."""
    log.line("=> creating model 'resnet18'")
    log.line("Use GPU: 0 for training")
    for epoch in range(3):
        for total, last in ((5005, 61), (196, 31)):
            for place in range(0, last, 10):
                progress = epoch / 3 + place / 6000
                time, data = f"{0.3 + 0.1 * log.random.random():6.3f}", f"{0.01 + 0.05 * log.random.random():6.3f}"
                loss = f"{log.loss(progress, 6.9):.4e}"
                first, fifth = f"{100 * log.accuracy(progress) / 2:6.2f}", f"{100 * log.accuracy(progress):6.2f}"
                head = f"Epoch: [{epoch}][{place:4d}/{total}]" if total == 5005 else f"Test: [{place:3d}/{total}]"
                log.line(
                    f"{head}\tTime {time} ( 0.312)\t"
                    + (f"Data {data} ( 0.020)\t" if total == 5005 else "")
                    + f"Loss {loss} (6.9123e+00)\tAcc@1 {first} (  1.23)\tAcc@5 {fifth} (  4.56)"
                )
                prefix = "" if total == 5005 else "test_"
                step = epoch * total + place
                log.point(prefix + "time", step, time)
                if total == 5005:
                    log.point("data", step, data)
                for name, value in (("loss", loss), ("acc@1", first), ("acc@5", fifth)):
                    log.point(prefix + name, step, value)
        first, fifth = f"{60 + log.random.random():.3f}", f"{85 + log.random.random():.3f}"
        log.line(f" *   Acc@1 {first} Acc@5 {fifth}")
        # The averages of the test, as the line before says; a person places them at its end.
        log.point("test_acc@1", epoch * 196 + 30, first)
        log.point("test_acc@5", epoch * 196 + 30, fifth)


def nanogpt(log: Log) -> None:
    """karpathy/nanoGPT train.py."""
    log.line("tokens per iteration will be: 16,384")
    log.line("found vocab_size = 65 (inside data/shakespeare_char/meta.pkl)")
    log.line("Initializing a new model from scratch")
    log.line("number of parameters: 10.65M")
    log.line("num decayed parameter tensors: 26, with 10,740,096 parameters")
    log.line("num non-decayed parameter tensors: 13, with 4,992 parameters")
    log.line("using fused AdamW: True")
    for iteration in range(0, 1001, 10):
        if iteration % 250 == 0:
            train, val = f"{log.loss(iteration / 1000, 4.2):.4f}", f"{log.loss(iteration / 1000, 4.3):.4f}"
            log.line(f"step {iteration}: train loss {train}, val loss {val}")
            log.point("train_loss", iteration, train)
            log.point("val_loss", iteration, val)
            if iteration:
                log.line("saving checkpoint to out-shakespeare-char")
        loss, time = f"{log.loss(iteration / 1000, 4.2):.4f}", f"{20 + 3 * log.random.random():.2f}"
        mfu = f"{17 + log.random.random():.2f}" if iteration >= 50 else "-100.00"
        log.line(f"iter {iteration}: loss {loss}, time {time}ms, mfu {mfu}%")
        log.point("loss", iteration, loss)
        log.point("time_ms", iteration, time)
        log.point("mfu_percent", iteration, mfu)


def makemore(log: Log) -> None:
    """karpathy/makemore makemore.py."""
    log.line(
        "{'input_file': 'names.txt', 'work_dir': 'out', 'resume': False, 'num_workers': 4, 'max_steps': -1, "
        "'device': 'cpu', 'seed': 3407, 'top_k': -1, 'type': 'transformer', 'n_layer': 4, 'n_head': 4, "
        "'batch_size': 32, 'learning_rate': 0.0005, 'weight_decay': 0.01}"
    )
    log.line("number of examples in the dataset: 32033")
    log.line("max word length: 15")
    log.line("number of unique characters in the vocabulary: 26")
    log.line("split up the dataset into 31033 training examples and 1000 test examples")
    log.line("dataset determined that: vocab_size=27, block_size=16")
    log.line("number of parameters: 0.20M")
    log.line("model #params: 204544")
    for step in range(0, 2001, 10):
        loss, time = f"{log.loss(step / 2000, 3.3):.4f}", f"{30 + 3 * log.random.random():.2f}"
        log.line(f"step {step} | loss {loss} | step time {time}ms")
        log.point("loss", step, loss)
        log.point("step_time_ms", step, time)
        if step and step % 500 == 0:
            train, test = log.loss(step / 2000, 2.5), log.loss(step / 2000, 2.6)
            log.line(f"step {step} train loss: {train} test loss: {test}")
            log.line("test loss 2.2 is the best so far, saving model to out/model.pt")
            log.line("-" * 80)
            log.line("4 samples that are in train:\nemma\nolivia\nava\nisabella")
            log.line("-" * 80)
            log.point("train_loss", step, train)
            log.point("test_loss", step, test)


def hugging_face(log: Log) -> None:
    """transformers Trainer: a bar with dicts written over it."""
    total = 600
    for step in range(1, total + 1):
        if step % 4 == 0:
            log.line(
                f"\r{100 * step // total:3d}%|{'█' * (step * 10 // total):10s}| {step}/{total} "
                f"[00:{step // 10:02d}<01:00,   9.87it/s]",
                end="",
            )
        if step % 50 == 0:
            loss, norm, epoch = f"{log.loss(step / 600):.4f}", f"{1 + log.random.random():.12f}", f"{step / 200:.2f}"
            rate = 5e-05 * (1 - step / total)
            log.line(
                f"\r{' ' * 80}\r{{'loss': {loss}, 'grad_norm': {norm}, 'learning_rate': {rate}, "
                f"'epoch': {float(epoch)}}}"
            )
            for name, printed in (("loss", loss), ("grad_norm", norm), ("learning_rate", str(rate)), ("epoch", epoch)):
                log.point(name, None, printed)
        if step % 200 == 0:
            eval_loss, accuracy = log.loss(step / 600), log.accuracy(step / 600)
            log.line(
                f"\r{' ' * 80}\r{{'eval_loss': {eval_loss}, 'eval_accuracy': {accuracy}, 'eval_runtime': 3.2101, "
                f"'eval_samples_per_second': 271.645, 'epoch': {step / 200}}}"
            )
            for name, value in (
                ("eval_loss", eval_loss),
                ("eval_accuracy", accuracy),
                ("eval_runtime", 3.2101),
                ("eval_samples_per_second", 271.645),
            ):
                log.point(name, None, value)
            # The same epoch as the training line before it: a person sees one value.
    log.line(
        "\r{'train_runtime': 61.2, 'train_samples_per_second': 98.0, 'train_steps_per_second': 9.8, "
        "'train_loss': 0.5213, 'epoch': 3.0}"
    )
    log.point("train_loss", None, 0.5213)
    log.line("\r100%|██████████| 600/600 [01:01<00:00,  9.80it/s]")


def keras_two(log: Log) -> None:
    """Keras 2 with its bar drawn by backspaces and carriage returns; losses after each epoch."""
    total = 1875
    for epoch in range(1, 4):
        log.line(f"Epoch {epoch}/3")
        for place in (1, 400, 900, 1400):
            loss, accuracy = f"{log.loss(epoch / 3 + place / 6000):.4f}", f"{log.accuracy(epoch / 3):.4f}"
            bar = "=" * (place * 29 // total) + ">" + "." * (29 - place * 29 // total)
            log.line(
                f"\r{place:4d}/{total} [{bar}] - ETA: {3 - place // 900}s - loss: {loss} - accuracy: {accuracy}",
                end="\b" * 20,
            )
            log.also("loss", (epoch - 1) * total + place, loss)
            log.also("accuracy", (epoch - 1) * total + place, accuracy)
        loss, accuracy = f"{log.loss(epoch / 3):.4f}", f"{log.accuracy(epoch / 3):.4f}"
        val_loss, val_accuracy = f"{log.loss(epoch / 3, 2):.4f}", f"{log.accuracy(epoch / 3):.4f}"
        log.line(
            f"\r{total}/{total} [==============================] - 5s 2ms/step - loss: {loss} - accuracy: {accuracy} - "
            f"val_loss: {val_loss} - val_accuracy: {val_accuracy}"
        )
        for name, value in (
            ("loss", loss),
            ("accuracy", accuracy),
            ("val_loss", val_loss),
            ("val_accuracy", val_accuracy),
        ):
            log.point(name, epoch * total, value)
    log.line("313/313 [==============================] - 0s 1ms/step - loss: 0.0712 - accuracy: 0.9781")
    log.point("eval_loss", None, 0.0712)
    log.point("eval_accuracy", None, 0.9781)


def keras_three(log: Log) -> None:
    """Keras 3, colours on."""
    total = 938
    for epoch in range(1, 5):
        log.line(f"Epoch {epoch}/4")
        loss, accuracy = f"{log.loss(epoch / 4):.4f}", f"{log.accuracy(epoch / 4):.4f}"
        val_loss, val_accuracy = f"{log.loss(epoch / 4, 2):.4f}", f"{log.accuracy(epoch / 4):.4f}"
        log.line(
            f"\x1b[1m{total}/{total}\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m\x1b[37m\x1b[0m "
            f"\x1b[1m4s\x1b[0m 4ms/step - accuracy: {accuracy} - loss: {loss} - "
            f"val_accuracy: {val_accuracy} - val_loss: {val_loss}"
        )
        for name, value in (
            ("loss", loss),
            ("accuracy", accuracy),
            ("val_loss", val_loss),
            ("val_accuracy", val_accuracy),
        ):
            log.point(name, epoch * total, value)


def xgboost(log: Log) -> None:
    """xgboost.train with evals."""
    for number in range(40):
        train, test = f"{log.loss(number / 40, 0.69):.5f}", f"{log.loss(number / 40, 0.7):.5f}"
        log.line(f"[{number}]\ttrain-logloss:{train}\teval-logloss:{test}")
        log.point("train-logloss", number, train)
        log.point("eval-logloss", number, test)


def lightgbm(log: Log) -> None:
    """lightgbm.train with log_evaluation."""
    log.line("[LightGBM] [Info] Number of positive: 2119, number of negative: 1881")
    log.line("[LightGBM] [Info] Total Bins 6132")
    log.line("[LightGBM] [Info] Number of data points in the train set: 4000, number of used features: 28")
    log.line("[LightGBM] [Info] [binary:BoostFromScore]: pavg=0.529750 -> initscore=0.119141")
    log.line("Training until validation scores don't improve for 10 rounds")
    for number in range(10, 101, 10):
        train, valid = f"{log.loss(number / 100, 0.69):.6g}", f"{log.loss(number / 100, 0.7):.6g}"
        log.line(f"[{number}]\ttraining's binary_logloss: {train}\tvalid_1's binary_logloss: {valid}")
        log.point("training_binary_logloss", number, train)
        log.point("valid_1_binary_logloss", number, valid)


def catboost(log: Log) -> None:
    """CatBoost verbose output."""
    elapsed = 50
    for number in range(0, 200, 10):
        elapsed += log.random.randrange(8, 30)
        learn, test = f"{log.loss(number / 200, 0.69):.7f}", f"{log.loss(number / 200, 0.7):.7f}"
        log.line(
            f"{number}:\tlearn: {learn}\ttest: {test}\tbest: {test} ({number})\ttotal: {elapsed}ms\tremaining: 1.2s"
        )
        log.point("learn", number, learn)
        log.point("test", number, test)
        log.point("best", number, test)
        log.point("total_ms", number, elapsed)


def tqdm_postfix(log: Log) -> None:
    """A tqdm bar per epoch, with description and postfix."""
    total = 267
    for epoch in range(1, 4):
        for place in range(1, total + 1, 38):
            loss = f"{log.loss(epoch / 3 + place / 900):.4f}"
            log.line(
                f"\rEpoch [{epoch}/3]: {100 * place // total:3d}%|{'█' * 4:10s}| {place}/{total} "
                f"[00:{place // 10:02d}<00:15,  9.81it/s, acc=0.91, loss={loss}]",
                end="",
            )
            log.also("acc", (epoch - 1) * total + place, 0.91)
            log.also("loss", (epoch - 1) * total + place, loss)
        loss, accuracy = f"{log.loss(epoch / 3):.4f}", f"{log.accuracy(epoch / 3):.3f}"
        log.line(
            f"\rEpoch [{epoch}/3]: 100%|██████████| {total}/{total} [00:27<00:00,  9.80it/s, "
            f"acc={accuracy}, loss={loss}]"
        )
        log.point("loss", epoch * total, loss)
        log.point("acc", epoch * total, accuracy)


def lightning(log: Log) -> None:
    """PyTorch Lightning's bar."""
    log.line("GPU available: False, used: False")
    log.line("TPU available: False, using: 0 TPU cores")
    log.line("\n  | Name  | Type   | Params | Mode\n-----------------------------------")
    log.line("0 | layer | Linear | 7.9 K  | train\n-----------------------------------")
    log.line(
        "7.9 K     Trainable params\n0         Non-trainable params\n0.031     Total estimated model params size (MB)"
    )
    log.line("Sanity Checking DataLoader 0: 100%|██████████| 2/2 [00:00<00:00, 120.3it/s]")
    total = 938
    for epoch in range(4):
        loss, accuracy = f"{log.loss(epoch / 4):.3f}", f"{log.accuracy(epoch / 4):.3f}"
        log.line(
            f"\rEpoch {epoch}: 100%|██████████| {total}/{total} [00:09<00:00, 98.12it/s, v_num=3, train_loss={loss}, "
            f"val_acc={accuracy}]"
        )
        log.point("train_loss", epoch * total + total, loss)
        log.point("val_acc", epoch * total + total, accuracy)
    log.line("`Trainer.fit` stopped: `max_epochs=4` reached.")


def swin(log: Log) -> None:
    """microsoft/Swin-Transformer main.py."""
    total = 1251
    for epoch in range(3):
        for place in range(0, 1001, 100):
            loss, norm = f"{log.loss(epoch / 3 + place / 4000, 6.9):.4f}", f"{1 + log.random.random():.4f}"
            time = f"{0.4 + 0.1 * log.random.random():.4f}"
            log.line(
                f"[2024-05-03 14:{epoch:02d}:{place // 20:02d} swin_tiny_patch4_window7_224] (main.py 247): INFO "
                f"Train: [{epoch}/300][{place}/{total}]\teta 0:08:13 lr 0.000012\t wd 0.0500\ttime {time} (0.4321)\t"
                f"loss {loss} (6.9210)\tgrad_norm {norm} (1.4412)\tloss_scale 65536.0000 (65536.0000)\tmem 11723MB"
            )
            step = epoch * total + place
            for name, value in (
                ("lr", "0.000012"),
                ("wd", "0.05"),
                ("time", time),
                ("loss", loss),
                ("grad_norm", norm),
                ("loss_scale", "65536"),
                ("mem_mb", "11723"),
            ):
                log.point(name, step, value)


def timm(log: Log) -> None:
    """huggingface/pytorch-image-models train.py."""
    total = 1251
    for epoch in range(3):
        for place in range(0, 1001, 100):
            loss, rate = f"{log.loss(epoch / 3 + place / 4000, 6.9):>#9.4g}".strip(), f"{1e-6 * (place + 1):.3e}"
            log.line(
                f"Train: {epoch} [{place:>4d}/{total} ({100 * place // total:>3.0f}%)]  Loss: {loss} (6.92)  "
                f"Time: 0.412s,  621.36/s  (0.431s,  593.97/s)  LR: {rate}  Data: 0.011 (0.021)"
            )
            step = epoch * total + place
            for name, value in (("loss", loss), ("time_s", "0.412"), ("lr", rate), ("data", "0.011")):
                log.point(name, step, value)


def fairseq(log: Log) -> None:
    """fairseq train log."""
    total = 1100
    for epoch in range(1, 4):
        for place in range(100, 1001, 100):
            loss, speed = f"{log.loss(epoch / 3 + place / 4000, 12):.3f}", f"{25000 + 500 * log.random.random():.1f}"
            updates = (epoch - 1) * total + place
            log.line(
                f"2021-03-04 10:{epoch:02d}:{place // 20:02d} | INFO | train_inner | "
                f"epoch {epoch:03d}: {place:6d} / {total} loss={loss}, ppl=812.21, wps={speed}, "
                f"ups=4.1, bsz=512, num_updates={updates}, lr=0.0001, gnorm=2.1"
            )
            for name, value in (
                ("loss", loss),
                ("ppl", "812.21"),
                ("wps", speed),
                ("ups", "4.1"),
                ("bsz", "512"),
                ("lr", "0.0001"),
                ("gnorm", "2.1"),
            ):
                log.point(name, updates, value)


def detectron(log: Log) -> None:
    """detectron2 and mmdetection."""
    for iteration in range(19, 400, 20):
        loss, rate = f"{log.loss(iteration / 400, 4.1):.4g}", f"{1e-5 * iteration:.5g}"
        log.line(
            f"[05/03 14:22:{iteration % 60:02d} d2.utils.events]:  eta: 0:12:33  iter: {iteration}  "
            f"total_loss: {loss}  loss_cls: 1.213  loss_box_reg: 0.6521  time: 0.3512  "
            f"data_time: 0.0123  lr: {rate}  max_mem: 2345M"
        )
        for name, value in (
            ("total_loss", loss),
            ("loss_cls", "1.213"),
            ("loss_box_reg", "0.6521"),
            ("time", "0.3512"),
            ("data_time", "0.0123"),
            ("lr", rate),
        ):
            log.point(name, iteration, value)


def mmdetection(log: Log) -> None:
    """open-mmlab's text logger."""
    total = 7330
    for epoch in range(1, 3):
        for place in range(50, 501, 50):
            loss = f"{log.loss(epoch / 3 + place / 4000, 1.4):.4f}"
            log.line(
                f"2021-06-01 12:{epoch:02d}:{place // 10:02d},123 - mmdet - INFO - Epoch [{epoch}][{place}/{total}]\t"
                f"lr: 2.000e-02, eta: 12:21:44, time: 0.512, data_time: 0.051, memory: 3914, "
                f"loss_cls: 0.4512, loss: {loss}"
            )
            step = (epoch - 1) * total + place
            for name, value in (
                ("lr", "0.02"),
                ("time", "0.512"),
                ("data_time", "0.051"),
                ("memory", "3914"),
                ("loss_cls", "0.4512"),
                ("loss", loss),
            ):
                log.point(name, step, value)


def cifar_tutorial(log: Log) -> None:
    """The PyTorch CIFAR tutorial."""
    last = 0
    for epoch in (1, 2):
        for place in range(2000, 12001, 2000):
            loss = f"{log.loss(epoch / 2 + place / 30000):.3f}"
            log.line(f"[{epoch}, {place:5d}] loss: {loss}")
            log.point("loss", (epoch - 1) * 12000 + place, loss)
            last = place
    assert last == 12000
    log.line("Finished Training")
    log.line("GroundTruth:  cat   ship  ship  plane")
    log.line("Accuracy for class: plane is 62.1 %")


def quickstart(log: Log) -> None:
    """The PyTorch quickstart tutorial."""
    for epoch in range(1, 5):
        log.line(f"Epoch {epoch}\n-------------------------------")
        for place in range(64, 60000, 6400):
            loss = f"{log.loss(epoch / 4 + place / 300000):>7f}".strip()
            log.line(f"loss: {loss}  [{place:>5d}/60000]")
            log.point("loss", (epoch - 1) * 60000 + place, loss)
        accuracy, loss = f"{100 * log.accuracy(epoch / 4):.1f}", f"{log.loss(epoch / 4):>8f}".strip()
        log.line(f"Test Error: \n Accuracy: {accuracy}%, Avg loss: {loss} \n")
        log.point("accuracy_percent", epoch, accuracy)
        log.point("avg_loss", epoch, loss)
    log.line("Done!")


def ours(log: Log) -> None:
    """The example scripts of dstui."""
    step = 0
    for epoch in range(1, 4):
        for _ in range(10):
            step += 20
            loss = f"{log.loss(step / 600):.4f}"
            log.line(f"epoch {epoch} step {step} loss={loss}")
            log.point("loss", step, loss)
        loss, accuracy = f"{log.loss(epoch / 3):.4f}", f"{log.accuracy(epoch / 3):.4f}"
        log.line(f"epoch {epoch}: val_loss={loss} val_acc={accuracy}")
        log.point("val_loss", epoch, loss)
        log.point("val_acc", epoch, accuracy)
    log.line("done in 12.3 s: best val_acc=0.9712")
    log.point("best_val_acc", None, "0.9712")


def steps_of_steps(log: Log) -> None:
    """Step lines as small repositories print them."""
    for step in range(10, 401, 10):
        loss, rate, speed = (
            f"{log.loss(step / 400):.4f}",
            f"{3e-4 * (1 - step / 500):.2e}",
            f"{11000 + log.random.randrange(900):,}",
        )
        log.line(f"[14:02:{step % 60:02d}] step {step:5d}/400 | loss: {loss} | lr: {rate} | tokens/sec: {speed}")
        log.point("loss", step, loss)
        log.point("lr", step, rate)
        log.point("tokens/sec", step, speed.replace(",", ""))


def reinforcement(log: Log) -> None:
    """pytorch/examples reinforcement_learning, and gym loops."""
    for episode in range(10, 401, 10):
        last, average = f"{20 + episode / 3:.2f}", f"{18 + episode / 3:.2f}"
        log.line(f"Episode {episode}\tLast reward: {last}\tAverage reward: {average}")
        log.point("last_reward", episode, last)
        log.point("average_reward", episode, average)
    log.line("Solved! Running reward is now 475.2 and the last episode runs to 500 time steps!")


def gym_loop(log: Log) -> None:
    for episode in range(0, 200, 20):
        reward, epsilon = f"{episode / 2 + log.random.random():.2f}", f"{0.99**episode:.3f}"
        log.line(f"Episode {episode}: Reward = {reward}, Epsilon = {epsilon}")
        log.point("reward", episode, reward)
        log.point("epsilon", episode, epsilon)


def dcgan(log: Log) -> None:
    """pytorch/examples dcgan/main.py."""
    total = 1583
    for epoch in range(2):
        for place in range(0, 1501, 100):
            generator, critic = f"{log.loss(place / 1600, 5):.4f}", f"{log.loss(place / 1600, 1):.4f}"
            log.line(
                f"[{epoch}/5][{place}/{total}] Loss_D: {critic} Loss_G: {generator} D(x): 0.7312 "
                "D(G(z)): 0.2011 / 0.0621"
            )
            log.point("loss_d", epoch * total + place, critic)
            log.point("loss_g", epoch * total + place, generator)


def json_lines(log: Log) -> None:
    """One JSON object a line, with a logger in front."""
    for step in range(0, 500, 25):
        loss, norm = f"{log.loss(step / 500):.5f}", f"{1 + log.random.random():.4f}"
        numbers = json.dumps({"step": step, "loss": float(loss), "grad_norm": float(norm)})
        log.line(f"2024-01-05 10:11:{step % 60:02d},001 INFO trainer: {numbers}")
        log.point("loss", step, loss)
        log.point("grad_norm", step, norm)


def logging_module(log: Log) -> None:
    """logging.basicConfig() and a formatter with time, name and level."""
    for step in range(100, 1500, 100):
        loss, accuracy = f"{log.loss(step / 1500):.4f}", f"{log.accuracy(step / 1500):.4f}"
        log.line(f"INFO:root:step={step} loss={loss} acc={accuracy}")
        log.point("loss", step, loss)
        log.point("acc", step, accuracy)
    for step in range(1500, 3000, 100):
        loss = f"{log.loss(step / 3000):.4f}"
        log.line(f"2024-01-05 10:11:{step % 59:02d},001 - train.loop - INFO - Iteration {step}: loss = {loss}")
        log.point("loss", step, loss)


def ranks(log: Log) -> None:
    """Four ranks of torchrun, told apart by a prefix; and four that are not."""
    for step in range(1, 30):
        loss = f"{log.loss(step / 30):.4f}"
        for rank in range(4):
            shown = loss if rank == 0 else f"{log.loss(step / 30):.4f}"
            log.line(f"[rank{rank}]: step {step} loss {shown}")
        log.point("loss", step, loss)
    for step in range(30, 60):
        loss = f"{log.loss(step / 60):.4f}"
        for _ in range(4):
            log.line(f"step {step} loss {loss}")
        log.point("loss", step, loss)


def header_blocks(log: Log) -> None:
    """A header line per epoch, the results below it."""
    for epoch in range(1, 6):
        log.line(f"2024-01-05 10:1{epoch}:00,001 - INFO - Epoch {epoch}/5:")
        train, val, accuracy = (
            f"{log.loss(epoch / 5):.4f}",
            f"{log.loss(epoch / 5, 2):.4f}",
            f"{log.accuracy(epoch / 5):.4f}",
        )
        log.line(f"2024-01-05 10:1{epoch}:09,101 - INFO -   Train Loss: {train} (bowel: 0.1212)")
        log.line(f"2024-01-05 10:1{epoch}:09,102 - INFO -   Val Loss: {val} (bowel: 0.2212)")
        log.line(f"2024-01-05 10:1{epoch}:09,103 - INFO -   Val Accuracy: {accuracy}")
        log.line(
            f"2024-01-05 10:1{epoch}:09,104 - INFO -   Saved checkpoint to runs/exp{epoch}/model_{epoch}.pt (44.7 MB)"
        )
        log.point("train_loss", epoch, train)
        log.point("val_loss", epoch, val)
        log.point("val_accuracy", epoch, accuracy)


def sklearn_results(log: Log) -> None:
    """What a scikit-learn script prints at its end."""
    log.line("Fitting 5 folds for each of 12 candidates, totalling 60 fits")
    log.line("[CV 1/5] END ..............C=0.1, gamma=0.001;, score=0.912 total time=   0.1s")
    log.line("[CV 2/5] END ..............C=0.1, gamma=0.001;, score=0.902 total time=   0.1s")
    log.line("Best parameters: {'C': 10, 'gamma': 0.001, 'kernel': 'rbf'}")
    log.line("Accuracy: 0.9733")
    log.line("F1 score: 0.9711")
    log.line("Test MSE: 0.0231")
    log.line("              precision    recall  f1-score   support\n")
    for number in range(10):
        log.line(f"           {number}       1.00      0.99      0.99        88")
    log.line("\n    accuracy                           0.97       899")
    log.line("   macro avg       0.97      0.97      0.97       899")
    log.line("weighted avg       0.97      0.97      0.97       899")
    log.line("Confusion matrix:\n[[87  0  0]\n [ 0 88  1]\n [ 0  0 85]]")
    log.point("accuracy", None, 0.9733)
    log.point("f1_score", None, 0.9711)
    log.point("test_mse", None, 0.0231)


def nothing_setup(log: Log) -> None:
    """What scripts print before and after training; none of it is a metric."""
    log.text = """\
Namespace(batch_size=64, test_batch_size=1000, epochs=14, lr=1.0, gamma=0.7, no_cuda=False, seed=1, log_interval=10)
batch_size: 64
epochs: 14
learning_rate: 0.001
hidden_size = 256
dropout: 0.1
warmup_steps: 500
max_steps: 20000
seed: 42
label_smoothing: 0.1
min_score: 0.5
score_threshold: 0.05
step_size: 10
eval_steps: 500
num_train_epochs: 3
Python 3.11.7 (main, Jan  5 2024, 10:11:12) [GCC 12.2.0]
torch version: 2.13.0+cu126
CUDA version: 12.6, cuDNN version: 90100
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1b2c3d4e)
Using device: cuda:0
Loading data from /data/imagenet/train_1.2M/part-00001.tar
Downloading https://download.pytorch.org/models/resnet18-f37072fd.pth to /root/.cache/torch/hub/checkpoints
100%|██████████| 44.7M/44.7M [00:01<00:00, 35.2MB/s]
Downloading data:  45%|████▌     | 45.0M/100M [00:03<00:04, 12.3MB/s]
Map:  12%|█▏        | 1200/10000 [00:01<00:07, 1204.33 examples/s]
Loading checkpoint shards: 100%|██████████| 4/4 [00:07<00:00,  1.85s/it]
train: (50000, 784) val: (10000, 784)
X_train shape: (60000, 28, 28, 1)
60000 train samples
10000 test samples
torch.Size([64, 3, 224, 224])
Number of parameters: 11,689,512
Total params: 11,689,512
Trainable params: 11,689,512
Params size (MB): 44.59
Estimated Total Size (MB): 107.96
Sequential(
  (0): Conv2d(3, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
  (1): BatchNorm2d(32, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
  (2): Dropout(p=0.5, inplace=False)
  (3): Linear(in_features=512, out_features=10, bias=True)
)
AdamW (
Parameter Group 0
    amsgrad: False
    betas: (0.9, 0.999)
    eps: 1e-08
    lr: 0.0003
    weight_decay: 0.01
)
2024-01-05 10:11:12,345 - INFO - Starting training at 10:11:12
[2024-01-05 10:11:12] INFO: PID 12345 on gpu07 (10.0.3.7:29500)
Time: 10:11:12
Started at 2024-01-05T10:11:12Z
commit: 3f2a91c on branch main
Saving model to runs/2024-01-05_10-11-12/model_best.pth
Model saved at epoch 5 to checkpoints/epoch=5-val_loss=0.23.ckpt
Early stopping: patience 3/10
EarlyStopping counter: 3 out of 10
Elapsed: 0:12:33, remaining: 1:02:11
ETA: 00:12:33
Total time: 1h 12m 33s
Process finished with exit code 0
"""


def nothing_trouble(log: Log) -> None:
    """Warnings and tracebacks."""
    log.text = """\
/usr/lib/python3/dist-packages/torch/optim/lr_scheduler.py:143: UserWarning: Detected call of `lr_scheduler.step()`
  warnings.warn("Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0: 3", UserWarning)
W0105 10:11:12.345678 12345 torch/distributed/run.py:779] step: 3 loss: 4 *****************************************
WARNING: loss: nan at step 120
WARNING: loss: nan at step 130
WARNING: loss: nan at step 140
[rank1]:[W105 10:11:12.000 ProcessGroupNCCL.cpp:1496] Warning: WARNING: destroy_process_group() was not called: 1
Traceback (most recent call last):
  File "/home/user/project/train.py", line 120, in <module>
    main(step=3, loss=0.2)
  File "/home/user/project/train.py", line 87, in main
    loss = criterion(output, target)
  File "/usr/lib/python3.11/site-packages/torch/nn/functional.py", line 3113, in cross_entropy
    return torch._C._nn.cross_entropy_loss(input, target, weight, _Reduction.get_enum(reduction), ignore_index)
ValueError: Expected input batch_size (64) to match target batch_size (32).
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB
RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x784 and 512x10)
AssertionError: accuracy: 0.5
KeyError: 'loss'
"""


def nothing_loops(log: Log) -> None:
    """Lines that repeat with a growing number, and say nothing of the training."""
    for number in range(1, 41):
        log.line(f"[{number}/40] Building CXX object CMakeFiles/app.dir/src/file_{number}.cpp.o")
    for number in range(1, 20):
        log.line(f"Processing file {number} of 20: data/part-{number:05d}.parquet")
        log.line(f"Epoch {number}: unfreezing backbone, switching to fine-tune phase {number}")
        log.line(f"step {number}: saved checkpoint out/ckpt_{number}.pt")
        log.line(f"Iteration {number} of 20, select configuration {number}.")
        log.line(f"Worker {number}: pid={4000 + number} port={29500 + number} rank={number}")
        log.line(f"2024-01-05 10:11:{number:02d} Reading shard {number}/20 offset=0x{number:04x}")
    for number in range(10):
        log.line(f"epoch {number} took 12.{number} s")
        log.line(f"Epoch {number} finished in 0:01:{number:02d}")
        log.line(f"Generation for step {number}: the answer is 42, and 3 + 4 = 7 as x = {number}")


def nothing_tables(log: Log) -> None:
    """nvidia-smi, df, pip, and a model summary."""
    log.text = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|=========================================+========================+======================|
|   0  NVIDIA H100 80GB HBM3          On  |   00000000:1B:00.0 Off |                    0 |
| N/A   34C    P0             70W /  700W |       1MiB /  81559MiB |      0%      Default |
+-----------------------------------------+------------------------+----------------------+
Filesystem      Size  Used Avail Use% Mounted on
/dev/nvme0n1p2  1.8T  1.2T  560G  69% /
Collecting numpy==1.26.4
  Downloading numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.whl (18.3 MB)
Successfully installed numpy-1.26.4 torch-2.13.0
Model: "sequential"
_________________________________________________________________
 Layer (type)                Output Shape              Param #
=================================================================
 dense (Dense)               (None, 128)               100480
 dense_1 (Dense)             (None, 10)                1290
=================================================================
Total params: 101770 (397.54 KB)
Trainable params: 101770 (397.54 KB)
Non-trainable params: 0 (0.00 Byte)
"""


def form_logs() -> dict[str, Log]:
    """One log per line of `forms.json`: the line with numbers in it, twenty times.

    `epoch`: n is the epoch. `batch`: e the epoch, p the batch of 200. Each with the letter behind every metric's name.
    `nothing`: lines that repeat and say nothing of the training.
    """
    forms = json.loads((HERE / "forms.json").read_text(encoding="utf-8"))
    logs: dict[str, Log] = {}
    for kind in ("epoch", "batch", "nothing"):
        for form in forms[kind]:
            text, names = (form, {}) if kind == "nothing" else form
            log = logs[f"{kind}: {text}"] = Log(len(logs))
            for number in range(1, 21):
                epoch, place = (number - 1) // 5, (number - 1) % 5 * 40
                values = {
                    "a": f"{log.loss(number / 20):.4f}",
                    "b": f"{log.accuracy(number / 20):.4f}",
                    "c": f"{log.loss(number / 20, 2.6):.6f}",
                    "t": f"{0.5 + log.random.random():.2f}",
                }
                log.line(text.format(n=number, e=epoch, p=place, **values))
                for name, letter in names.items():
                    log.point(name, number if kind == "epoch" else epoch * 200 + place, values[letter])
    return logs


def script_logs() -> dict[str, Callable[[Log], None]]:
    """The logs of scripts by name; the place of each is the seed of its numbers."""
    return {
        writer.__name__: writer
        for writer in (
            pytorch_mnist, word_language_model, imagenet, nanogpt, makemore, hugging_face, keras_two, keras_three,
            xgboost, lightgbm, catboost, tqdm_postfix, lightning, swin, timm, fairseq, detectron, mmdetection,
            cifar_tutorial, quickstart, ours, steps_of_steps, reinforcement, gym_loop, dcgan, json_lines,
            logging_module, ranks, header_blocks, sklearn_results, nothing_setup, nothing_trouble, nothing_loops,
            nothing_tables,
        )
    }  # fmt: skip


def main() -> None:
    labels: dict[str, dict[str, Points]] = {}
    for seed, (name, write) in enumerate(script_logs().items()):
        log = Log(seed)
        write(log)
        (HERE / f"{name}.log").write_text(log.text, encoding="utf-8", newline="")
        labels[name] = {"points": log.points, "also": log.overdrawn}
    (HERE / "labels.json").write_text(json.dumps(labels, separators=(",", ":")) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
