"""winidjango: a file is cleaned and loaded."""

from argparse import ArgumentParser

import polars as pl
from shop.models import Product
from winidjango.core.commands.import_data import ImportDataBaseCommand
from winiutils.core.data.dataframe.cleaning import CleaningDF


class ProductCleaningDF(CleaningDF):
    NAME_COL = "name"
    PRICE_COL = "price"
    SKU_COL = "sku"

    @classmethod
    def get_col_dtype_map(cls):
        return {cls.NAME_COL: pl.Utf8, cls.PRICE_COL: pl.Float64, cls.SKU_COL: pl.Utf8}

    @classmethod
    def get_no_null_cols(cls):
        return (cls.NAME_COL, cls.SKU_COL)

    @classmethod
    def get_unique_subsets(cls):
        return ((cls.SKU_COL,),)

    # The documentation leaves these out, and the class cannot be made without them.

    @classmethod
    def get_rename_map(cls):
        return {name: name for name in cls.get_col_dtype_map()}

    @classmethod
    def get_fill_null_map(cls):
        return {cls.NAME_COL: "", cls.PRICE_COL: 0.0, cls.SKU_COL: ""}

    @classmethod
    def get_col_precision_map(cls):
        return {cls.PRICE_COL: 2}

    @classmethod
    def get_col_converter_map(cls):
        return dict.fromkeys(cls.get_col_dtype_map(), cls.skip_col_converter)

    @classmethod
    def get_drop_null_subsets(cls):
        return ((cls.NAME_COL, cls.SKU_COL),)

    @classmethod
    def get_add_on_duplicate_cols(cls):
        return ()

    @classmethod
    def get_sort_cols(cls):
        return ((cls.SKU_COL, False),)


class Command(ImportDataBaseCommand):
    """Import products from CSV with automatic cleaning."""

    def add_command_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", type=str, required=True)
        parser.add_argument("--category-id", type=int, required=True)

    def handle_import(self):
        return pl.read_csv(self.get_option("file"))

    def get_cleaning_df_cls(self):
        return ProductCleaningDF

    def get_bulks_by_model(self, df):
        category_id = self.get_option("category_id")
        products = [
            Product(name=row["name"], price=row["price"], sku=row["sku"], category_id=category_id)
            for row in df.iter_rows(named=True)
        ]
        return {Product: products}
