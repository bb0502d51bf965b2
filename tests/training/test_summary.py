"""Summary of a training history."""

from fashioncnn.training.summary import summarize


def record(epoch, train_loss, val=(None, None), test=(None, None)):
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "val_loss": val[0],
        "val_accuracy": val[1],
        "test_loss": test[0],
        "test_accuracy": test[1],
    }


def test_summary_has_the_best_and_the_final_values_of_each_curve():
    history = [
        record(1, 0.9, val=(0.8, 0.5), test=(0.7, 0.6)),
        record(2, 0.5, val=(0.4, 0.9), test=(0.6, 0.8)),
        record(3, 0.3, val=(0.5, 0.8), test=(0.9, 0.8)),
    ]
    assert summarize(history) == {
        "final_train_loss": 0.3,
        "best_validation_accuracy": {"value": 0.9, "epoch": 2},
        "lowest_validation_loss": {"value": 0.4, "epoch": 2},
        "final_validation_accuracy": 0.8,
        "final_validation_loss": 0.5,
        "best_test_accuracy": {"value": 0.8, "epoch": 2},
        "lowest_test_loss": {"value": 0.6, "epoch": 2},
        "final_test_accuracy": 0.8,
        "final_test_loss": 0.9,
    }


def test_splits_that_were_not_evaluated_are_left_out():
    assert summarize([record(1, 0.9)]) == {"final_train_loss": 0.9}
