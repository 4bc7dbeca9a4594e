"""A Trainer whose arguments stand in the script."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


class Words(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        words = (torch.arange(12) * (index + 1)) % 50
        return {"input_ids": words, "attention_mask": torch.ones_like(words), "labels": index % 2}


config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
args = TrainingArguments(
    output_dir="out",
    num_train_epochs=2,
    per_device_train_batch_size=16,
    learning_rate=3e-4,
    logging_steps=1,
    save_strategy="no",
    report_to="none",
    use_cpu=True,
)
trainer = Trainer(model=BertForSequenceClassification(config), args=args, train_dataset=Words(), eval_dataset=Words())
trainer.train()
trainer.evaluate()
trainer.save_state()
